"""What operators mistype: one sentence and an exit code, never a traceback, never a hang."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from services import LIMIT_S, PROGRAM, Service, ctl

NO_TEXT = b"x\xff"
DEAD = "127.0.0.1:1"
LONG = "a" * 300


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["describe", NO_TEXT], 2, "is not UTF-8 text"),
        (["ctl", "sessions", NO_TEXT], 2, "is not UTF-8 text"),
        (["ctl", "resource", "load", "echo", __file__, "--name", NO_TEXT], 2, "is not UTF-8 text"),
        (["describe", "--address", ""], 2, "is empty: write HOST:PORT"),
        (["call", "echo", "--address", DEAD, "--timeout", "inf"], 2, "31536000"),
        (["ctl", "resource", "load", "echo", __file__, "--id", "99999999999"], 2, "4294967295"),
        (["ctl", "resource", "load", "echo", __file__, "--timeout", "99999999h"], 2, "more than a year"),
        (["rollout", "echo", "--to", "2", "--steps", "nan", "--config", "x"], 2, "write rising percents"),
        (
            ["init", "good", "--template", "aiges", "--path", __file__],
            3,
            "cannot be written: Not a directory",
        ),
        (["init", LONG, "--template", "aiges"], 3, "File name too long"),
        (["check", LONG], 3, "File name too long"),
        (["plan", LONG], 3, "File name too long"),
        (["--config", LONG], 3, "File name too long"),
        (["gateway", "--listen-certificate", LONG], 2, "listen-certificate"),
    ],
    ids=lambda one: " ".join(Path(str(word)).name[:16] for word in one) if isinstance(one, list) else None,
)
def test_what_cannot_be_is_told_in_one_sentence(words: list[str | bytes], code: int, said: str) -> None:
    """With the exit code of a wrong command line, or of a wrong file."""
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    shown = " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
    assert (done.returncode, said in shown) == (code, True), done.stderr


def test_a_way_back_that_nobody_confirms_is_told_as_one(service: Service) -> None:
    """The weights of before are put: who were sent to `loader ctl rollback` would put the canary again."""
    before = service.held()
    done = ctl("rollout", "echo", "--to", "2.0", "--interval", "1s", "--address", DEAD, *service.where)
    assert done.returncode == 1, done.stderr
    assert "the weights of before are put, but not all loaders have them" in done.stderr
    assert "could not be set back" not in done.stderr
    assert service.held() == before

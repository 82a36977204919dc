"""What people see on a terminal: colours in a plan, a table that follows live, bars while a canary is watched."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from services import LIMIT_S, PROGRAM, SERVICE, Service

ONE_CENTER = pytest.mark.parametrize("service", ["file"], indirect=True)


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self.text = ""

    def read_until(self, is_seen: Callable[[str], bool], what: str) -> str:
        """Everything so far, once it is seen."""
        end_s = time.monotonic() + LIMIT_S
        while not is_seen(self.text):
            left_s = end_s - time.monotonic()
            assert left_s > 0 and select.select([self._master], [], [], left_s)[0], f"{what}: {self.text}"
            try:
                self.text += os.read(self._master, 65_536).decode(errors="replace")
            except OSError:  # the other end is closed
                assert is_seen(self.text), f"{what}: {self.text}"
        return self.text


@contextmanager
def on_terminal(*arguments: str | Path) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [PROGRAM, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    try:
        yield Terminal(master, process)
        process.wait(LIMIT_S)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_a_plan_is_in_colour(tmp_path: Path) -> None:
    """Green for what applies at once; without a terminal there is none."""
    (tmp_path / "echo.py").write_text("")
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(SERVICE.format(folder=tmp_path, more=""))
    new.write_text(old.read_text().replace("slots: 8", "slots: 9"))
    with on_terminal("plan", new, "--from", old) as terminal:
        text = terminal.read_until(lambda text: "8 → 9" in text, "the plan")
    assert "\x1b[1;32m" in text and "\x1b[32m" in text
    plain = subprocess.run(
        [PROGRAM, "plan", new, "--from", old], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert "8 → 9" in plain.stdout
    assert "\x1b" not in plain.stdout


@ONE_CENTER
def test_the_table_of_all_nodes_follows_live(service: Service) -> None:
    """The new revision takes the place of the old one in the same table."""
    with service.loaders("a"), on_terminal("status", *service.where, "--watch") as terminal:
        terminal.read_until(lambda text: "applied" in text, "the table")
        revision = service.put(service.text().replace("slots: 8", "slots: 9"))
        text = terminal.read_until(
            lambda text: text.count(revision) >= 3, "the node serves it"
        )  # the head, two columns
        assert "\x1b[1A" in text, "it is drawn over itself"
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(LIMIT_S) == 130


@ONE_CENTER
def test_a_canary_has_a_bar_for_each_step(service: Service) -> None:
    """With what was counted beside it."""
    with service.loaders("a"), service.calls():
        arguments = [
            "rollout",
            "echo",
            "--to",
            "2.0",
            "--steps",
            "20,100",
            "--interval",
            "1s",
            *service.nodes,
        ]
        with on_terminal(*arguments) as terminal:
            text = terminal.read_until(lambda text: "done: echo 2.0 has 100 %" in text, "the end")
            assert terminal.process.wait(LIMIT_S) == 0
    for step in ("20 %", "100 %"):
        assert f"{step} \x1b" in text or f"{step} ━" in text, text
    assert "━" in text
    assert "0 in error; others:" in text

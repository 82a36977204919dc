"""`loader rollout`: a good canary ends with all new sessions, a bad one with none, on the loaders' own counts."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest
import yaml
from services import LIMIT_S, PROGRAM, Service, ctl, until

FAST = ("--interval", "1s", "--min-sessions", "5")


def rollout(service: Service, *arguments: str) -> tuple[int, str, list[dict[str, Any]]]:
    """The exit code, why, and everything that was told."""
    done = ctl("rollout", "echo", *arguments, *FAST, *service.nodes, "--output", "json")
    return done.returncode, done.stderr, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_good_version_gets_all_new_sessions_step_by_step(service: Service) -> None:
    """The old one stays with weight 0; no call fails; comments are still there."""
    with service.loaders("a", "b"), service.calls() as counts:
        code, why, told = rollout(service, "--to", "2.0", "--steps", "20,100")
        assert code == 0, why
        assert service.weights() == {"1.0": 0, "2.0": 100}
        assert "error" not in counts, counts
        assert counts["2.0"] > 0
    steps = [(one["phase"], one["percent"]) for one in told]
    assert list(dict.fromkeys(one for one in steps if one[0] == "watching")) == [
        ("watching", 20),
        ("watching", 100),
    ]
    assert told[-1]["phase"] == "done"
    shares = {one["percent"]: one["weights"] for one in told if one["phase"] == "watching"}
    assert shares[20] == {"1.0": 80, "2.0": 20}
    # About a fifth of what ended in the first step: calls are shared out exactly, on each node from its own beginning,
    # less what ended while it was applied.
    first = [one for one in told if one["phase"] == "watching" and one["percent"] == 20][-1]
    assert 0.02 < first["new"]["ended"] / (first["new"]["ended"] + first["others"]["ended"]) < 0.35
    assert "# the stable one" in service.held()


@pytest.mark.parametrize("fault", ["exec", "death"])
def test_a_version_that_fails_is_rolled_back(service: Service, fault: str) -> None:
    """Exit code 8, the numbers and the reason; the documents are as they were, byte for byte."""
    before = service.text(f', fails: "{fault}"')
    service.put(before)
    with service.loaders("a", "b"), service.calls():
        code, why, told = rollout(service, "--to", "2.0", "--steps", "20,100")
        assert code == 8
        assert "at 20 %: " in why
        assert {"exec": "error_rate>1%: ", "death": ">"}[fault] in why
        assert told[-1]["phase"] == "rolled_back"
        assert service.held() == before
        assert service.weights() == {"1.0": 100, "2.0": 0}


def test_a_slow_version_is_rolled_back(service: Service) -> None:
    """By the time to its first result."""
    service.put(service.text(", slow_s: 0.3"))
    with service.loaders("a"), service.calls():
        code, why, _ = rollout(
            service, "--to", "2.0", "--steps", "50,100", "--abort-on", "first_result_p99>100ms"
        )
        assert code == 8, why
        assert "first_result_p99>100ms: " in why


def test_a_new_version_that_does_not_start_is_never_routed(service: Service) -> None:
    """It is added with weight 0, the loaders refuse it, and it is gone again."""
    (service.folder / "bad.py").write_text("raise RuntimeError('not built')\n")
    with service.loaders("a", "b"), service.calls() as counts:
        code, why, _ = rollout(service, "--to", "3.0", "--wrapper", f"{service.folder}/bad.py")
        assert code == 8
        assert "not built" in why
        assert service.held() == service.text()
        assert set(counts) == {"1.0"}


def test_a_new_version_is_added_and_the_old_one_removed(service: Service) -> None:
    """Beside the only one, which had no `versions` yet."""
    text = f"engines:\n  echo:\n    wrapper: {service.folder}/echo.py  # ours\n    slots: 8\n"
    service.put(text)
    (service.folder / "new.py").write_text((service.folder / "echo.py").read_text().replace("1.0", "new"))
    with service.loaders("a", "b"), service.calls() as counts:
        code, why, _ = rollout(
            service,
            "--to",
            "2.0",
            "--wrapper",
            f"{service.folder}/new.py",
            "--steps",
            "50,100",
            "--remove-old",
        )
        assert code == 0, why
        until(lambda: service.weights() == {"2.0": 100}, "the old version has left")
        assert "error" not in counts, counts
        assert counts["new"] > 0
    assert list(yaml.safe_load(service.held())["engines"]["echo"]["versions"]) == ["2.0"]
    assert "# ours" in service.held()


def test_an_interrupted_canary_is_rolled_back(service: Service) -> None:
    """Without a terminal nobody is asked."""
    with service.loaders("a"), service.calls():
        command = [
            PROGRAM,
            "rollout",
            "echo",
            "--to",
            "2.0",
            "--interval",
            "60s",
            *service.nodes,
            "--output",
            "json",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                while json.loads(process.stdout.readline())["phase"] != "watching":
                    pass
                assert service.held() != service.text()
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=LIMIT_S)
            finally:
                process.kill()
        assert process.returncode == 130
        assert "rolled back: interrupted" in errors
        assert service.held() == service.text()


def test_a_canary_without_sessions_is_not_promoted(service: Service) -> None:
    """It waits ten intervals for them, then goes back."""
    with service.loaders("a"):
        code, why, _ = rollout(service, "--to", "2.0")
        assert code == 8
        assert "only 0 sessions ended" in why
        assert service.held() == service.text()


def test_changes_of_others_survive_a_roll_back(service: Service) -> None:
    """Then only the weights go back."""
    with service.loaders("a"), service.calls():
        command = [
            PROGRAM,
            "rollout",
            "echo",
            "--to",
            "2.0",
            "--interval",
            "60s",
            *service.nodes,
            "--output",
            "json",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                while json.loads(process.stdout.readline())["phase"] != "watching":
                    pass
                service.put(service.held().replace("slots: 8", "slots: 9"))
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=LIMIT_S)
            finally:
                process.kill()
        assert service.held() == service.text().replace("slots: 8", "slots: 9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "9.0"), "has no version 9.0: there are 1.0, 2.0"),
        (("--to", "2.0", "--wrapper", "x.py"), "has version 2.0 already"),
        (("--to", "2.0", "--steps", "50,5"), "--steps"),
        (("--to", "2.0", "--abort-on", "luck<1"), "--abort-on"),
        (("--to", "1.0"), "nothing to roll out"),
    ],
)
def test_a_canary_that_cannot_be_is_refused_before_anything_changes(
    service: Service, arguments: tuple[str, ...], message: str
) -> None:
    """Exit code 2."""
    done = ctl("rollout", "echo", *arguments, *service.where, "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert service.held() == service.text()

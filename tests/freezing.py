"""Stopping a process, seen to have stopped: SIGSTOP is only asked for when kill() returns."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

LIMIT_S = 20.0


def freeze(pid: int) -> None:
    """SIGSTOP; returns when none of its threads runs any more."""
    os.kill(pid, signal.SIGSTOP)
    deadline_s = time.monotonic() + LIMIT_S
    while moving := [one for one in Path(f"/proc/{pid}/task").iterdir() if _state(one) not in "TX"]:
        assert time.monotonic() < deadline_s, f"not stopped in {LIMIT_S} s: {moving}"
        time.sleep(0.001)  # between two looks at /proc


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"  # it has ended

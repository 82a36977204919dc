"""Each entry of a native wrapper dies or hangs: the client is told, others never notice, the next one is served."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import until
from scene import HANGING, LIMIT_S, hostile

DEADLY = ["segfault", "abort", "exit"]
# What the client of that entry is told where the process dies: (close reason, error).
DEATHS = {
    "exec": ("", "ENGINE_DIED"),
    "create": ("host_died", "ENGINE_DIED"),
    "write": ("host_died", "ENGINE_DIED"),
    "end": ("host_died", "ENGINE_DIED"),
    "cancel": ("", "CANCELLED"),  # its stream is gone: there is nobody to say more to
    "destroy": ("finished", ""),  # it had its final already
}
HANGS = {entry: ("call_hung" if reason == "host_died" else reason, error.replace("ENGINE_DIED", "CALL_HUNG"))
         for entry, (reason, error) in DEATHS.items()}  # fmt: skip


@pytest.mark.parametrize("behavior", DEADLY)
@pytest.mark.parametrize("entry", list(DEATHS))
def test_a_death_in_an_entry_ends_only_its_session(tmp_path: Path, behavior: str, entry: str) -> None:
    """The reason names the death; a new process serves the next one."""
    with hostile(tmp_path, behavior, entry) as scene:
        assert scene.provoke(entry)[:2] == DEATHS[entry]
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)
        scene.assert_recovered()
        assert scene.running.instance("mean").pid != scene.first_pid


@pytest.mark.parametrize("entry", list(HANGS))
def test_an_endless_entry_is_ended_by_its_clock(tmp_path: Path, entry: str) -> None:
    """Not returning is noticed after the entry's time, and the process is replaced."""
    with hostile(tmp_path, "loop", entry, **HANGING) as scene:
        assert scene.provoke(entry)[:2] == HANGS[entry]
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)

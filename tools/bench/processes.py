"""What processes cost: CPU and memory of a tree, and what the machine lost, from /proc. Knows no server."""

from __future__ import annotations

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        fields = _stat(entry.name) if entry.name.isdigit() else None
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_s(pids: list[int]) -> float:
    """Seconds of user and system time of these processes, ended threads included."""
    ticks = 0
    for pid in pids:
        fields = _stat(str(pid))
        if fields is not None:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def stolen_s() -> float:
    """Seconds since boot that the hypervisor withheld from this machine's processors, all together."""
    return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / TICKS_PER_S


def memory_bytes(pids: list[int]) -> int:
    """Resident memory, a page shared by n of them counted 1/n (PSS)."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


def _stat(pid: str) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name: [state, parent, ...]; None: it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()

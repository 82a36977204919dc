"""Where the processor time of a server goes: its top symbols during one run, by `perf` where there is one.

Quietly nothing elsewhere: a profile explains a figure, it is none. Knows no budget.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.bench.processes import tree
from tools.bench.sample import FailedError, Load, measure
from tools.bench.servers import Server
from tools.bench.traffic import Traffic

SHOWN = 8
LIMIT_S = 120
LINE = re.compile(r"^\s*([\d.]+)%\s+(\S.*?)\s{2,}(\S+)\s+\[(.)\]\s+(.+?)(?:\s{2,}.*)?$")


@dataclass(frozen=True, slots=True)
class Symbol:
    """One line of a profile."""

    percent: float
    thread: str
    library: str
    name: str

    @property
    def text(self) -> str:
        return f"{self.percent:.0f} % `{self.name}` ({self.library}, {self.thread})"


def profile(server: Server, load: Load, traffic: Traffic, folder: Path) -> list[Symbol]:
    """The symbols that take most, of all the server's processes, in a run of its own. Empty: no perf, or no answer."""
    perf = shutil.which("perf")
    if perf is None:
        return []
    record = folder / "perf.data"
    pids = ",".join(map(str, tree(server.pid)))
    command = [perf, "record", "--quiet", "--freq", "999", "--output", str(record), "--pid", pids]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as recorder:
        try:
            measure(server, load, traffic)
        except FailedError:
            return []
        finally:
            recorder.terminate()  # perf writes what it has and ends
            _end(recorder)
    return _symbols(perf, record)


def _end(recorder: subprocess.Popen[bytes]) -> None:
    try:
        recorder.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        recorder.kill()


def _symbols(perf: str, record: Path) -> list[Symbol]:
    command = [
        perf,
        "report",
        "--stdio",
        "--no-children",
        "--sort",
        "comm,dso,symbol",
        "--percent-limit",
        "1",
    ]
    try:
        done = subprocess.run(
            [*command, "--input", str(record)], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse(done.stdout)


def parse(report: str) -> list[Symbol]:
    """The first lines of perf's report."""
    found = [LINE.match(line) for line in report.splitlines() if not line.startswith("#")]
    rows = [one for one in found if one]
    return [Symbol(float(r[1]), r[2], r[3], r[5]) for r in rows[:SHOWN]]

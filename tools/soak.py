"""Runs a loader under load for minutes while clients vanish at random, and proves that nothing is left of them.

    python tools/soak.py --minutes 10 --write docs/soak.md

Load is 70 % of the frame rate that the same clients reach unpaced on this machine. Client processes are
killed, connections closed and sessions cancelled at random. At the end no session, slot, queued byte,
descriptor, thread or memory file may be left over, and resident memory must have stayed flat. Exit code 1
says that it was not so. Knows the public client, AdminService and /proc; refuses to know the loader's inside.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil

from loader.client import Client
from loader.errors import LoaderError
from loader.v1 import admin_pb2, admin_pb2_grpc

CHECKOUT = Path(__file__).resolve().parent.parent
ENGINES = ("echo_c", "echo_py")
SLOTS = 64
WORKERS = 3
THREADS = 4
LOAD = 0.7
ENGINE_THREADS = 8
OTHER_THREADS = 8  # of a host, whatever its engine
FRAMES = 50  # of a session at most
PAYLOAD = bytes(1024)
BIG = bytes(256 << 10)  # travels through the arena
KILL_PERIOD_S = 5.0
SAMPLE_S = 1.0
READY_S = 60
SETTLE_S = 30
GROWTH = 0.05
GROWTH_BYTES = 4 << 20
GAUGES = ("sessions_open", "slots_used", "queue_depth", "queued_input_bytes", "queued_result_bytes")


# ---- a client process


def work(address: str, rate: float) -> None:
    """Sessions on random engines until somebody kills this process; `rate` frames a second, 0: unpaced."""
    for number in range(THREADS):
        threading.Thread(target=work_alone, args=(address, rate / THREADS, number), daemon=True).start()
    signal.pause()


def work_alone(address: str, rate: float, number: int) -> None:
    """One thread of a client process."""
    chance = random.Random(os.getpid() * 100 + number)
    pace = Pace(rate)
    while True:
        with Client(address) as client, suppress(LoaderError):
            for _ in range(20):
                if not one_session(client, chance, pace):
                    break  # the connection is closed under the session


def one_session(client: Client, chance: random.Random, pace: Pace) -> bool:
    """One session, ended in one of four ways; False: by closing the connection."""
    ending = chance.choices(("finish", "cancel", "leave", "close"), (6, 2, 1, 1))[0]
    session = client.session(chance.choice(ENGINES), timeout_s=60)
    session.__enter__()
    try:
        results = session.results()
        for _ in range(chance.randint(1, FRAMES)):
            pace.wait()
            session.write({"x": BIG if chance.random() < 0.02 else PAYLOAD})
            next(results)
        if ending == "finish":
            session.end()
            list(results)
        elif ending == "cancel":
            session.cancel()
        elif ending == "close":
            session.write({"x": BIG})
            return False
    finally:
        if ending != "close":
            session.__exit__(None, None, None)
    return True


class Pace:
    """Lets one frame pass each 1/rate seconds."""

    def __init__(self, rate: float) -> None:
        self._step_s = 1 / rate if rate else 0.0
        self._next_s = time.monotonic()

    def wait(self) -> None:
        """Returns when the next frame is due; what is late is not made up for."""
        if not self._step_s:
            return
        now = time.monotonic()
        if self._next_s > now:
            time.sleep(self._next_s - now)
        self._next_s = max(self._next_s, now) + self._step_s


# ---- the loader


@dataclass
class Loader:
    """The process under test and what can be seen of it."""

    process: subprocess.Popen[str]
    address: str
    admin: Any

    def statistics(self) -> dict[str, float]:
        """Every counter."""
        return dict(self.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=10).values)

    def total(self, name: str) -> float:
        """One counter over all engines."""
        return sum(value for key, value in self.statistics().items() if key.split("{")[0] == f"loader_{name}")

    def in_use(self) -> dict[str, float]:
        """What is taken; empty when no client is there."""
        return {
            key: value
            for key, value in self.statistics().items()
            if value and key.removeprefix("loader_").split("{")[0] in GAUGES
        }

    def family(self) -> list[psutil.Process]:
        """The loader and its hosts, the loader first."""
        leader = psutil.Process(self.process.pid)
        return [leader, *sorted(leader.children(recursive=True), key=lambda one: one.pid)]


@contextmanager
def serving(folder: Path) -> Iterator[Loader]:
    """A loader with both echo engines; ended with exit code 0."""
    engines = {
        name: {"wrapper": str(CHECKOUT / "wrappers" / name), "slots": SLOTS, "threads": ENGINE_THREADS}
        for name in ENGINES
    }
    file = folder / "soak.yaml"
    file.write_text(json.dumps({"engines": engines}))
    command = [sys.executable, "-m", "loader.cli.main"]
    program = Path(sys.executable).parent / "loader"
    command = [str(program)] if program.exists() else command
    with (folder / "loader.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--config", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            address = str(json.loads(first_line(process))["grpc"])
            with grpc.insecure_channel(address) as channel:
                yield Loader(process, address, admin_pb2_grpc.AdminServiceStub(channel))
            process.terminate()
            if process.wait(SETTLE_S) != 0:
                raise RuntimeError(f"the loader ended with {process.returncode}: see its log")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def first_line(process: subprocess.Popen[str]) -> str:
    """The ready line."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(READY_S):
            raise RuntimeError(f"no ready line in {READY_S} s")
    return process.stdout.readline()


class Workers:
    """The client processes."""

    def __init__(self, address: str, rate: float) -> None:
        self._arguments = [sys.executable, __file__, "--work", address, "--rate", str(rate / WORKERS)]
        self._processes = [self._start() for _ in range(WORKERS)]
        self.killed = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._arguments, stderr=subprocess.DEVNULL)

    def kill_one(self) -> None:
        """SIGKILL in the middle of whatever it does; another one takes its place."""
        at = random.randrange(WORKERS)
        self._processes[at].kill()
        self._processes[at].wait()
        self._processes[at] = self._start()
        self.killed += 1

    def kill_all(self) -> None:
        """The end of all load."""
        for process in self._processes:
            process.kill()
            process.wait()


# ---- measuring


@dataclass
class Sample:
    """One look at the family."""

    at_s: float
    rss: list[int]  # of the loader, then of each host
    fds: list[int]
    threads: list[int]
    memory_files: list[int]
    sessions: float = 0


@dataclass
class Soak:
    """What was seen, and what was wrong."""

    minutes: float
    peak_rate: float = 0.0
    frames: float = 0.0
    sessions: float = 0.0
    killed: int = 0
    samples: list[Sample] = field(default_factory=list)
    before: Sample | None = None
    after: Sample | None = None
    faults: list[str] = field(default_factory=list)


def look(loader: Loader, started_s: float) -> Sample:
    """A sample of now."""
    family = loader.family()
    return Sample(
        time.monotonic() - started_s,
        [process.memory_info().rss for process in family],
        [process.num_fds() for process in family],
        [process.num_threads() for process in family],
        [memory_files(process.pid) for process in family],
        loader.total("sessions_open"),
    )


def memory_files(pid: int) -> int:
    """Descriptors of memory files and mappings of them."""
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            count += "memfd:" in str(link.readlink())
    return count + Path(f"/proc/{pid}/maps").read_text().count("memfd:")


def until(is_true: Callable[[], Any], limit_s: float) -> bool:
    """Whether it became true in time."""
    end = time.monotonic() + limit_s
    while not is_true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def peak_rate(loader: Loader, seconds: float) -> float:
    """Frames a second that unpaced clients reach, after a warm-up of the same length."""
    workers = Workers(loader.address, 0)
    try:
        time.sleep(seconds)
        before = loader.total("frames_in")
        time.sleep(seconds)
        return (loader.total("frames_in") - before) / seconds
    finally:
        workers.kill_all()


def run(minutes: float, calibration_s: float) -> Soak:
    """The whole soak."""
    soak = Soak(minutes)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as loader:
        started_s = time.monotonic()
        pids = [process.pid for process in loader.family()]
        soak.peak_rate = peak_rate(loader, calibration_s)
        settle(loader, soak, "the calibration")
        soak.before = look(loader, started_s)
        load(loader, soak, started_s)
        settle(loader, soak, "the load")
        baseline = soak.before
        until(lambda: is_back(look(loader, started_s), baseline), SETTLE_S)
        soak.after = look(loader, started_s)
        judge(soak)
        if [process.pid for process in loader.family()] != pids:
            soak.faults.append("a host was replaced during the soak")
    return soak


def settle(loader: Loader, soak: Soak, what: str) -> None:
    """Nothing may stay in use once the clients are dead."""
    if not until(lambda: not loader.in_use(), SETTLE_S):
        soak.faults.append(f"in use {SETTLE_S} s after {what}: {loader.in_use()}")


def load(loader: Loader, soak: Soak, started_s: float) -> None:
    """Load, samples and killings for the given time."""
    frames, sessions = loader.total("frames_in"), loader.total("sessions_opened")
    workers = Workers(loader.address, LOAD * soak.peak_rate)
    end_s = time.monotonic() + soak.minutes * 60
    kill_s = time.monotonic() + KILL_PERIOD_S
    try:
        while time.monotonic() < end_s:
            time.sleep(SAMPLE_S)
            soak.samples.append(look(loader, started_s))
            if time.monotonic() > kill_s:
                workers.kill_one()
                kill_s += KILL_PERIOD_S
    finally:
        workers.kill_all()
    soak.frames = loader.total("frames_in") - frames
    soak.sessions = loader.total("sessions_opened") - sessions
    soak.killed = workers.killed


def is_back(now: Sample, before: Sample) -> bool:
    """No more descriptors, threads and memory files than before the load."""
    return not leaks(before, now)


def leaks(before: Sample, after: Sample) -> list[str]:
    """What there is too much of. A host may have grown its pool of threads, each with a descriptor."""
    found = []
    for at in range(min(len(before.fds), len(after.fds))):
        name = f"host {at}" if at else "the loader"
        threads = after.threads[at] - before.threads[at]
        limit = OTHER_THREADS + ENGINE_THREADS - before.threads[at] if at else 0
        allowed = max(0, threads) if at else 0
        if threads > limit:
            found.append(f"threads of {name}: {before.threads[at]} before, {after.threads[at]} after")
        if after.fds[at] - before.fds[at] > allowed:
            found.append(f"descriptors of {name}: {before.fds[at]} before, {after.fds[at]} after")
        if after.memory_files[at] > before.memory_files[at]:
            found.append(
                f"memory files of {name}: {before.memory_files[at]} before, {after.memory_files[at]} after"
            )
    return found


def judge(soak: Soak) -> None:
    """Adds what is wrong."""
    before, after = soak.before, soak.after
    assert before is not None
    assert after is not None
    soak.faults += leaks(before, after)
    early, late = growth(soak)
    if late > early * (1 + GROWTH) + GROWTH_BYTES:
        soak.faults.append(f"resident memory grew from {mib(early)} to {mib(late)} MiB")


def growth(soak: Soak) -> tuple[float, float]:
    """Median resident bytes of the family in the second quarter and in the last."""
    totals = [sum(sample.rss) for sample in soak.samples]
    quarter = max(1, len(totals) // 4)
    return statistics.median(totals[quarter : 2 * quarter] or totals), statistics.median(totals[-quarter:])


# ---- the report


def mib(size: float) -> float:
    """Rounded to a tenth."""
    return round(size / (1 << 20), 1)


def both(soak: Soak, name: str) -> str:
    """A number of the loader and of each host, before and after."""
    return ", ".join("+".join(map(str, getattr(sample, name))) for sample in (soak.before, soak.after))


def page(soak: Soak, plot: str) -> str:
    """The report as Markdown."""
    assert soak.before is not None
    assert soak.after is not None
    early, late = growth(soak)
    rows = [
        ("minutes", soak.minutes),
        ("frames a second, unpaced", round(soak.peak_rate)),
        ("frames a second, in the soak", round(soak.frames / (soak.minutes * 60))),
        ("sessions", round(soak.sessions)),
        ("client processes killed", soak.killed),
        ("descriptors before, after", both(soak, "fds")),
        ("threads before, after", both(soak, "threads")),
        ("memory files before, after", both(soak, "memory_files")),
        ("sessions open at the end", round(soak.after.sessions)),
        ("resident MiB, second quarter, last quarter", f"{mib(early)}, {mib(late)}"),
        ("faults", "; ".join(soak.faults) or "none"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "# Soak\n\nWritten by `tools/soak.py`. A native and a Python echo engine under "
        f"{round(LOAD * 100)} % of the rate that the same clients reach unpaced; clients are killed, "
        "close connections and cancel at random.\n\n| | |\n|---|---|\n"
        f"{table}\n\n![Resident memory of the loader and its hosts]({plot})\n"
    )


WIDTH, HEIGHT, MARGIN = 720, 280, 44
COLORS = ("#1f77b4", "#2ca02c", "#d62728", "#9467bd")


def drawing(soak: Soak) -> str:
    """Resident memory over time as SVG, one line a process."""
    end_s = soak.samples[-1].at_s
    start_s = soak.samples[0].at_s
    top = max(max(sample.rss) for sample in soak.samples) * 1.1
    names = ("loader", *(f"host {number}" for number in range(1, len(soak.samples[0].rss))))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<path d="M{MARGIN} 10V{HEIGHT - MARGIN}H{WIDTH - 10}" fill="none" stroke="black"/>',
        f'<text x="4" y="16">{mib(top)} MiB</text><text x="24" y="{HEIGHT - MARGIN}">0</text>',
        f'<text x="{WIDTH - 60}" y="{HEIGHT - 26}">{round((end_s - start_s) / 60, 1)} min</text>',
    ]
    for at, name in enumerate(names):
        points = " ".join(
            f"{MARGIN + (sample.at_s - start_s) / max(end_s - start_s, 1) * (WIDTH - MARGIN - 10):.1f},"
            f"{HEIGHT - MARGIN - sample.rss[at] / top * (HEIGHT - MARGIN - 10):.1f}"
            for sample in soak.samples
            if at < len(sample.rss)
        )
        color = COLORS[at % len(COLORS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}"/>')
        parts.append(f'<text x="{MARGIN + 90 * at}" y="{HEIGHT - 10}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--calibration", type=float, default=10, help="seconds of unpaced load")
    parser.add_argument("--write", type=Path, help="the page; a plot of the same name is put beside it")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=float, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.rate)
        return 0
    soak = run(arguments.minutes, arguments.calibration)
    plot = arguments.write.with_suffix(".svg") if arguments.write else Path("soak.svg")
    text = page(soak, plot.name)
    if arguments.write:
        arguments.write.write_text(text)
        plot.write_text(drawing(soak))
    sys.stdout.write(text)
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())

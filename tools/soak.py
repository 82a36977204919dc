"""Runs a loader under load for minutes while clients vanish at random, and proves that nothing is left of them.

    python tools/soak.py --minutes 10 --write docs/soak.md

First the clients run unpaced: that is the peak. Then their pace is steered so that the loader takes 70 % of it
throughout. Client processes are killed, connections closed and sessions cancelled at random. Between warm-up and
end no session, slot, queued byte, descriptor, thread or memory file may be added, and resident memory must stay
flat. Exit code 1 says that it was not so. Knows the public client, AdminService and /proc; refuses to know the
loader's inside, but for one thing: a host's pool of threads grows when all of them are busy, up to its limit, and
stays; each of its threads owns one descriptor.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import selectors
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
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
LOAD_ERROR = 0.05  # of the peak
STEER_S = 5  # the rate that is steered by is that of so many seconds
GAIN = 0.3
ENGINE_THREADS = 8
OTHER_THREADS = 8  # of a host, whatever its engine
POOL_DESCRIPTOR = "anon_inode:[eventfd]"
FRAMES = 50  # of a session at most
PAYLOAD = bytes(1024)
BIG = bytes(256 << 10)  # travels through the arena
KILL_PERIOD_S = 5.0
SAMPLE_S = 1.0
READY_S = 60
SETTLE_S = 30
GROWTH = 0.05
GROWTH_BYTES = 4 << 20
RATE = struct.Struct("d")
GAUGES = ("sessions_open", "slots_used", "queue_depth", "queued_input_bytes", "queued_result_bytes")


# ---- a client process


def work(address: str, rate: Path) -> None:
    """Sessions on random engines until somebody kills this process, as fast as `rate` says."""
    for number in range(THREADS):
        threading.Thread(target=work_alone, args=(address, Pace(rate), number), daemon=True).start()
    signal.pause()


def work_alone(address: str, pace: Pace, number: int) -> None:
    """One thread of a client process."""
    chance = random.Random(os.getpid() * 100 + number)
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
    """Lets one frame pass each 1/rate seconds; the rate of one thread stands in a file, 0: unpaced."""

    def __init__(self, rate: Path) -> None:
        with rate.open("rb") as file:
            self._rate = mmap.mmap(file.fileno(), RATE.size, prot=mmap.PROT_READ)
        self._next_s = time.monotonic()

    def wait(self) -> None:
        """Returns when the next frame is due; what is late is not made up for."""
        (rate,) = RATE.unpack(self._rate)
        if not rate:
            return
        now = time.monotonic()
        if self._next_s > now:
            time.sleep(self._next_s - now)
        self._next_s = max(self._next_s, now) + 1 / rate


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

    def __init__(self, address: str, folder: Path) -> None:
        self._rate = folder / "rate"
        self._rate.write_bytes(RATE.pack(0))
        self._arguments = [sys.executable, __file__, "--work", address, "--rate", str(self._rate)]
        self._processes = [self._start() for _ in range(WORKERS)]
        self.killed = 0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._arguments, stderr=subprocess.DEVNULL)

    def run_at(self, rate: float) -> None:
        """Frames a second of all together; 0: unpaced."""
        with self._rate.open("r+b") as file:
            file.write(RATE.pack(rate / (WORKERS * THREADS)))

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


class Steering:
    """Keeps the rate that the loader achieves at the target, whatever the clients lose."""

    def __init__(self, workers: Workers, target: float) -> None:
        self._workers = workers
        self._target = self._asked = target
        self._seen: deque[tuple[float, float]] = deque(maxlen=STEER_S + 1)
        workers.run_at(target)

    def saw(self, frames: float) -> None:
        """Called each second with the frames taken so far."""
        self._seen.append((time.monotonic(), frames))
        (first_s, first), (last_s, last) = self._seen[0], self._seen[-1]
        if last_s - first_s < 1:
            return
        missing = self._target - (last - first) / (last_s - first_s)
        self._asked = min(max(self._asked + GAIN * missing, self._target / 2), self._target * 3)
        self._workers.run_at(self._asked)


# ---- measuring


@dataclass
class Sample:
    """One look at the family."""

    at_s: float
    rss: list[int]  # of the loader, then of each host
    descriptors: list[Counter[str]]  # by kind
    threads: list[int]
    memory_files: list[int]
    sessions: float
    frames: float

    @property
    def fds(self) -> list[int]:
        return [kinds.total() for kinds in self.descriptors]


@dataclass
class Soak:
    """What was seen, and what was wrong."""

    minutes: float
    warm_up_s: float
    peak_rate: float = 0.0
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
        [descriptors(process.pid) for process in family],
        [process.num_threads() for process in family],
        [memory_files(process.pid) for process in family],
        loader.total("sessions_open"),
        loader.total("frames_in"),
    )


def descriptors(pid: int) -> Counter[str]:
    """Open descriptors by kind: "socket", "anon_inode:[eventfd]", a path."""
    kinds: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            target = str(link.readlink())
            kinds[target.partition(":[")[0] if target[0] != "a" else target] += 1
    return kinds


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


def run(minutes: float, warm_up_s: float) -> Soak:
    """The whole soak: peak, warm-up, what is there when idle, load, what is there when idle."""
    soak = Soak(minutes, warm_up_s)
    with tempfile.TemporaryDirectory() as name, serving(Path(name)) as loader:
        folder, started_s = Path(name), time.monotonic()
        pids = [process.pid for process in loader.family()]
        soak.peak_rate = peak_rate(loader, folder, warm_up_s)
        load(loader, folder, soak, warm_up_s)
        settle(loader, soak, "the warm-up")
        soak.before = look(loader, started_s)
        first = loader.total("sessions_opened")
        soak.killed, soak.samples = load(loader, folder, soak, minutes * 60)
        soak.sessions = loader.total("sessions_opened") - first
        settle(loader, soak, "the load")
        before = soak.before
        until(lambda: not leaks(before, look(loader, started_s)), SETTLE_S)
        soak.after = look(loader, started_s)
        judge(soak)
        if [process.pid for process in loader.family()] != pids:
            soak.faults.append("a host was replaced during the soak")
    return soak


def peak_rate(loader: Loader, folder: Path, seconds: float) -> float:
    """Frames a second that unpaced clients reach, after half of that time."""
    workers = Workers(loader.address, folder)
    try:
        time.sleep(seconds / 2)
        before = loader.total("frames_in")
        time.sleep(seconds)
        return (loader.total("frames_in") - before) / seconds
    finally:
        workers.kill_all()


def settle(loader: Loader, soak: Soak, what: str) -> None:
    """Nothing may stay in use once the clients are dead."""
    if not until(lambda: not loader.in_use(), SETTLE_S):
        soak.faults.append(f"in use {SETTLE_S} s after {what}: {loader.in_use()}")


def load(loader: Loader, folder: Path, soak: Soak, seconds: float) -> tuple[int, list[Sample]]:
    """Load and killings for the given time: how many were killed, and what was seen each second."""
    workers = Workers(loader.address, folder)
    steering = Steering(workers, LOAD * soak.peak_rate)
    started_s = time.monotonic()
    samples: list[Sample] = []
    kill_s = KILL_PERIOD_S
    try:
        while (now_s := time.monotonic() - started_s) < seconds:
            samples.append(look(loader, started_s))
            steering.saw(samples[-1].frames)
            if now_s > kill_s:
                workers.kill_one()
                kill_s += KILL_PERIOD_S
            time.sleep(SAMPLE_S)
    finally:
        workers.kill_all()
    return workers.killed, samples


def leaks(before: Sample, after: Sample) -> list[str]:
    """What is not as it was. Threads that a host's pool has gained are allowed, with a descriptor each."""
    found = []
    for at in range(min(len(before.fds), len(after.fds))):
        name = f"host {at}" if at else "the loader"
        gained = after.threads[at] - before.threads[at]
        limit = OTHER_THREADS + ENGINE_THREADS - before.threads[at] if at else 0
        if gained > limit:
            found.append(f"threads of {name}: {before.threads[at]} before, {after.threads[at]} after")
        kinds = Counter(after.descriptors[at])
        kinds.subtract(before.descriptors[at])
        if at:
            kinds[POOL_DESCRIPTOR] -= gained
        if different := {kind: count for kind, count in kinds.items() if count}:
            found.append(f"descriptors of {name}: {different} more than before")
        if after.memory_files[at] != before.memory_files[at]:
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
    held = rate_of(soak) / soak.peak_rate
    if abs(held - LOAD) > LOAD_ERROR:
        soak.faults.append(f"the load was {held:.0%} of the peak: run it on a quiet machine")


def rate_of(soak: Soak) -> float:
    """Frames a second that the loader took in the soak."""
    first, last = soak.samples[0], soak.samples[-1]
    return (last.frames - first.frames) / (last.at_s - first.at_s)


def growth(soak: Soak) -> tuple[float, float]:
    """Median resident bytes of the family in the first quarter and in the last."""
    totals = [sum(sample.rss) for sample in soak.samples]
    quarter = max(1, len(totals) // 4)
    return statistics.median(totals[:quarter]), statistics.median(totals[-quarter:])


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
        ("peak: frames a second of unpaced clients", round(soak.peak_rate)),
        ("frames a second in the soak", round(rate_of(soak))),
        ("of the peak", f"{rate_of(soak) / soak.peak_rate:.1%}"),
        ("sessions", round(soak.sessions)),
        ("client processes killed", soak.killed),
        ("descriptors before, after", both(soak, "fds")),
        ("threads before, after", both(soak, "threads")),
        ("memory files before, after", both(soak, "memory_files")),
        ("sessions open at the end", round(soak.after.sessions)),
        ("resident MiB, first quarter, last quarter", f"{mib(early)}, {mib(late)}"),
        ("faults", "; ".join(soak.faults) or "none"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        "# Soak\n\nWritten by `tools/soak.py`. A native and a Python echo engine under "
        f"{round(LOAD * 100)} % of the rate that the same clients reach unpaced; clients are killed, "
        "close connections and cancel at random. Numbers are those of the loader, the native and the Python host, "
        f"taken when idle: before is after {soak.warm_up_s * 2.5:g} s of warm-up. A host's pool of threads grows when "
        "all of them are busy, up to a limit, and stays; each of its threads owns one eventfd. Everything else is "
        "exactly as it was, or it is a fault.\n\n| | |\n|---|---|\n"
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
    parser.add_argument(
        "--warm-up",
        type=float,
        default=20,
        help="seconds in which the peak is measured, and of the warm-up after it",
    )
    parser.add_argument("--write", type=Path, help="the page; a plot of the same name is put beside it")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--rate", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work, arguments.rate)
        return 0
    soak = run(arguments.minutes, arguments.warm_up)
    plot = arguments.write.with_suffix(".svg") if arguments.write else Path("soak.svg")
    text = page(soak, plot.name)
    if arguments.write:
        arguments.write.write_text(text)
        plot.write_text(drawing(soak))
    sys.stdout.write(text)
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())

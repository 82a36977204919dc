"""Admission wait with unequal nodes: the client's choice by free slots against round robin, in alternating rounds.

    python -m tools.bench.balance [--seconds 15] [--rounds 2] [--write docs/benchmarks-balance.md]

Sessions arrive at random and last a random time; each is opened by one of several clients, which know of each other
only by the registry. Round robin is the same client pinned to one node, taken in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from loader.client import AsyncClient
from loader.errors import LoaderError
from tools.bench.report import commit, machine

ROOT = Path(__file__).resolve().parents[2]
SLOTS = (8, 16, 24)
LOADS = (0.4, 0.8)  # of all slots, on average
MEAN_S = 0.5  # of a session
CLIENTS = 4
TARGET = 3.0
READY_S = 60


@dataclass
class Sample:
    """What the opens of one way of choosing took, in seconds."""

    waits_s: list[float] = field(default_factory=list)
    refused: int = 0

    def percentile_ms(self, percent: int) -> float:
        """Of the sessions that were admitted."""
        return 1_000 * statistics.quantiles(self.waits_s, n=100, method="inclusive")[percent - 1]


class Pool:
    """Several clients of one kind: `pick` says which opens the next session."""

    def __init__(self, clients: list[list[AsyncClient]], chance: random.Random) -> None:
        self.clients = list(itertools.chain(*clients))
        self._turns: list[Iterator[AsyncClient]] = []
        for nodes in clients:
            turn = itertools.cycle(nodes)
            for _ in range(chance.randrange(len(nodes))):
                next(turn)
            self._turns.append(turn)
        self._chance = chance

    def pick(self) -> AsyncClient:
        """Of a client drawn at random: its only connection, or the next in turn."""
        return next(self._chance.choice(self._turns))

    async def close(self) -> None:
        """Ends them."""
        for client in self.clients:
            await client.close()


def start(folder: Path, slots: int) -> tuple[subprocess.Popen[str], str]:
    """One loader; its process and its address."""
    echo = {
        "wrapper": str(ROOT / "wrappers/echo_py"),
        "slots": slots,
        "admission_wait_ms": 30_000,
        "queue_limit": 10_000,
    }
    file = folder / f"node-{slots}.yaml"
    node = {"service": "bench", "node": f"n{slots}", "registry": f"file:{folder}/registry"}
    file.write_text(json.dumps({**node, "log": {"level": "error"}, "engines": {"echo": echo}}))
    command = [str(Path(sys.executable).with_name("loader")), "--config", str(file)]
    process = subprocess.Popen(
        [*command, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, str(json.loads(process.stdout.readline())["grpc"])


async def measured(pool: Pool, load: float, seconds: float, chance: random.Random) -> Sample:
    """Opens sessions at random moments; all that began are waited for."""
    sample = Sample()
    rate = load * sum(SLOTS) / MEAN_S
    running: set[asyncio.Task[None]] = set()
    next_s = time.monotonic()
    until_s = next_s + seconds
    while next_s < until_s:
        await asyncio.sleep(max(0.0, next_s - time.monotonic()))
        task = asyncio.create_task(one_session(pool.pick(), chance.expovariate(1 / MEAN_S), sample))
        running.add(task)
        task.add_done_callback(running.discard)
        next_s += chance.expovariate(rate)
    await asyncio.gather(*running)
    return sample


async def one_session(client: AsyncClient, length_s: float, sample: Sample) -> None:
    """Opens, holds, ends; the wait is that of the open as the caller sees it."""
    began_s = time.monotonic()
    try:
        async with client.session("echo", timeout_s=120) as session:
            sample.waits_s.append(time.monotonic() - began_s)
            await asyncio.sleep(length_s)
            async for _ in session:
                pass
    except LoaderError:
        sample.refused += 1


async def campaign(
    registry: str, addresses: list[str], seconds: float, rounds: int
) -> dict[tuple[float, str], Sample]:
    """Every load with both ways of choosing, in alternating rounds with the same arrivals."""
    found: dict[tuple[float, str], Sample] = {}
    for load, number in itertools.product(LOADS, range(rounds)):
        for kind in ("round robin", "free slots") if number % 2 == 0 else ("free slots", "round robin"):
            nodes = addresses if kind == "round robin" else [registry]
            pool = Pool(
                [[AsyncClient(node) for node in nodes] for _ in range(CLIENTS)], random.Random(number)
            )
            try:
                await asyncio.gather(*(warm(client) for client in pool.clients))
                one = await measured(pool, load, seconds, random.Random(number))
            finally:
                await pool.close()
            total = found.setdefault((load, kind), Sample())
            total.waits_s += one.waits_s
            total.refused += one.refused
            print(
                f"{load:.0%} {kind}: {len(one.waits_s)} sessions, p99 {one.percentile_ms(99):.1f} ms",
                flush=True,
            )
    return found


async def warm(client: AsyncClient) -> None:
    """Connects."""
    await client.exec("echo", {"x": b""}, timeout_s=READY_S)


def page(found: dict[tuple[float, str], Sample], seconds: float, rounds: int) -> str:
    """The text of docs/benchmarks-balance.md."""
    lines = [
        "# Balance\n",
        "<!-- Written by tools/bench/balance.py: do not edit. -->\n",
        (
            f"Command: `make bench-balance`. {machine()}, commit {commit()}; {rounds} alternating rounds of "
            f"{seconds:g} s.\n"
        ),
        (
            f"Three loaders with {', '.join(map(str, SLOTS))} slots of the echo engine in Python, {CLIENTS} clients on "
            f"the same machine. Sessions arrive at random (Poisson) and last {MEAN_S:g} s on average (exponential). "
            "The wait is what `open` takes, as the caller sees it: choice, connection, queue, create.\n"
        ),
        "| slots in use | chosen by | sessions | refused | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    for (load, kind), sample in found.items():
        cells = (f"{load:.0%}", kind, len(sample.waits_s), sample.refused)
        times = (f"{sample.percentile_ms(percent):.1f}" for percent in (50, 99))
        lines.append(f"| {' | '.join(map(str, (*cells, *times)))} |")
    lines += ["", "| slots in use | p99 of round robin / p99 of free slots | target | |", "|---|---|---|---|"]
    for load in LOADS:
        ratio = ratio_of(found, load)
        verdict = "pass" if ratio >= TARGET else "miss"
        lines.append(f"| {load:.0%} | {ratio:.0f} | ≥ {TARGET:g} | **{verdict}** |")
    return "\n".join(lines) + "\n"


def ratio_of(found: dict[tuple[float, str], Sample], load: float) -> float:
    """How much longer round robin lets a caller wait."""
    return found[load, "round robin"].percentile_ms(99) / found[load, "free slots"].percentile_ms(99)


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        addresses = []
        for slots in SLOTS:
            process, address = start(Path(name), slots)
            stack.callback(process.wait, READY_S)
            stack.callback(process.terminate)
            addresses.append(address)
        found = asyncio.run(campaign(f"file:{name}/registry", addresses, arguments.seconds, arguments.rounds))
    text = page(found, arguments.seconds, arguments.rounds)
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


if __name__ == "__main__":
    main()

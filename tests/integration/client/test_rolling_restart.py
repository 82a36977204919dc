"""The proof of discovery: three loaders are restarted one after the other under load, and nobody notices."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from consul_agent import ConsulAgent
from fleet import TIMEOUT_S, Fleet

from loader import errors
from loader.client import AsyncClient

WORKERS = 12
FRAMES = 20
PAUSE_S = 0.02  # between two frames: a session lasts about half a second
NAMES = ("a", "b", "c")


@dataclass
class Load:
    """Sessions opened and used one after the other by each of some workers, until told to stop."""

    client: AsyncClient
    served: Counter[str] = field(default_factory=Counter)  # finished sessions by address
    failures: list[str] = field(default_factory=list)
    is_over: bool = False
    has_served: asyncio.Event = field(default_factory=asyncio.Event)

    async def work(self) -> None:
        while not self.is_over:
            try:
                await self._one()
            except errors.LoaderError as error:
                self.failures.append(f"{error.name}: {error.message}")

    async def _one(self) -> None:
        async with self.client.session("echo", timeout_s=TIMEOUT_S) as session:
            results = session.stream(self._frames())
            numbers = [result["n"] async for result in results]
        assert numbers == list(range(FRAMES)), numbers
        assert session.final is not None
        assert session.final.reason == "finished"
        self.served[session.address] += 1
        self.has_served.set()

    async def _frames(self) -> AsyncIterator[dict[str, int]]:
        for number in range(FRAMES):
            yield {"n": number}
            await asyncio.sleep(PAUSE_S)


async def restarted_under_load(fleet: Fleet) -> Load:
    """Every node once, each only when the one before it serves again."""
    async with AsyncClient(fleet.registry) as client:
        load = Load(client)
        workers = [asyncio.create_task(load.work()) for _ in range(WORKERS)]
        try:
            for name in NAMES:
                node = fleet.nodes[name]
                await serves(load, node.address)
                node.ask_to_end()
                assert await asyncio.to_thread(node.wait_ended) == 0
                await asyncio.to_thread(lambda node=node: node.start().wait_ready())
                await serves(load, node.address)
        finally:
            load.is_over = True
            done, _ = await asyncio.wait(workers, timeout=TIMEOUT_S)
        assert len(done) == WORKERS
        for worker in workers:
            worker.result()
    return load


async def serves(load: Load, address: str) -> None:
    """Until the node at that address has finished a session of ours."""
    before = load.served[address]
    async with asyncio.timeout(TIMEOUT_S):
        while load.served[address] == before:
            load.has_served.clear()
            await load.has_served.wait()


@pytest.mark.parametrize("kind", ["file", "consul"])
def test_a_rolling_restart_of_three_loaders_fails_no_open_and_cuts_no_session(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Zero failed opens, zero sessions that end otherwise than finished, and every new process gets its share."""
    registry = f"file:{tmp_path}/registry"
    if kind == "consul":
        start: Callable[..., ConsulAgent] = request.getfixturevalue("start_consul")
        registry = start().url("speech")
    with Fleet(tmp_path, registry) as fleet:
        for name in NAMES:
            fleet.add(name, slots=WORKERS)
        fleet.ready()
        load = asyncio.run(restarted_under_load(fleet))
        assert load.failures == []
        assert sum(load.served.values()) > 2 * WORKERS
        assert len(load.served) == 2 * len(NAMES), "each node served before and after"

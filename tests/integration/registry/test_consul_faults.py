"""Announcing in a Consul that is killed, paused and emptied, and how often a loader under load writes to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from consul_agent import ConsulAgent
from registry_backends import entry
from running import until

from loader.consul_link import ConsulAccess
from loader.errors import RegistryUnreachableError
from loader.registry import Announcer, EngineEntry, NodeEntry
from loader.registry.consul import ConsulRegistry

LIMIT_S = 90
UNREACHABLE_LIMIT_S = 20


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await scenario

    asyncio.run(bounded())


def registry_of(agent: ConsulAgent, service: str = "speech", **access: str) -> ConsulRegistry:
    return ConsulRegistry(agent.url(f"services/{service}"), ConsulAccess(**access), ttl_s=6)


class Load:
    """A node whose free slots the test sets."""

    def __init__(self, slots: int = 100) -> None:
        self.slots = self.free = slots

    def entry(self) -> NodeEntry:
        return entry("n1", engines=(EngineEntry("a", "1", slots=self.slots, slots_free=self.free),))


@contextlib.asynccontextmanager
async def announcing(registry: ConsulRegistry, load: Load) -> Any:
    announcer = Announcer(registry, load.entry)
    task = asyncio.create_task(announcer.run())
    try:
        yield announcer
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await announcer.withdraw()
        await announcer.close()


async def seen(reader: ConsulRegistry, nodes: list[NodeEntry]) -> None:
    """Waits until a watch tells these nodes."""
    async with contextlib.aclosing(reader.watch()) as news:
        async for item in news:
            if item == nodes:
                return


def test_a_watch_tells_once_that_the_registry_is_away_and_all_nodes_after_it(
    start_consul: Callable[..., ConsulAgent],
) -> None:
    """Killed, and started with its data: the nodes are told again, though they are the same."""
    agent = start_consul()

    async def scenario() -> None:
        registry, load = registry_of(agent), Load()
        reader = registry_of(agent)
        async with announcing(registry, load), contextlib.aclosing(reader.watch()) as news:
            while await anext(news) != [load.entry()]:
                pass
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.to_thread(agent.kill)
            assert isinstance(await asyncio.wait_for(waiting, UNREACHABLE_LIMIT_S), RegistryUnreachableError)
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=2)
            assert not waiting.done(), waiting
            await asyncio.to_thread(agent.restart)
            item = await waiting
            while item != [load.entry()]:
                item = await anext(news)
        await reader.close()

    run(scenario())


def test_an_agent_that_lost_everything_is_told_again(start_consul: Callable[..., ConsulAgent]) -> None:
    """Killed with its data: the announcer says that it is out of reach, then announces by itself."""
    agent = start_consul()

    async def scenario() -> None:
        reader, load = registry_of(agent), Load()
        async with announcing(registry_of(agent), load) as announcer:
            await seen(reader, [load.entry()])
            await asyncio.to_thread(agent.kill)
            await asyncio.to_thread(agent.restart, is_empty=True)
            await seen(reader, [load.entry()])
            # It knows when it has the answer.
            await asyncio.to_thread(until, lambda: announcer.is_reachable, "it knows that it is heard")
        assert await reader.nodes() == []
        await reader.close()

    run(scenario())


def test_a_withdrawal_that_consul_did_not_hear_is_repeated(start_consul: Callable[..., ConsulAgent]) -> None:
    """Withdrawn while Consul hangs: bounded, and gone when it goes on, while the node still beats for nobody."""
    agent = start_consul()

    async def scenario() -> None:
        reader, load = registry_of(agent), Load()
        registry = ConsulRegistry(agent.url("services/speech"), ConsulAccess(), ttl_s=600)  # only words count
        async with announcing(registry, load) as announcer:
            await seen(reader, [load.entry()])
            agent.pause()
            began_s = time.monotonic()
            await announcer.withdraw()
            assert time.monotonic() - began_s < 4.5
            agent.resume()
            await seen(reader, [])
            announcer.resume()
            await seen(reader, [load.entry()])
        await reader.close()

    run(scenario())


def test_load_is_told_at_most_once_a_second_and_only_when_it_matters(
    start_consul: Callable[..., ConsulAgent],
) -> None:
    """Slots that change a thousand times in five seconds, engines that change state all the time: one write a second.
    A change of less than a tenth is none; full and not full is one."""
    agent = start_consul()

    def writes() -> int:
        """How often Consul wrote the service: each write moves its index."""
        row = (agent.call("GET", "/catalog/service/speech") or [None])[0]
        return int(row["ModifyIndex"]) if row else 0

    async def scenario() -> None:
        reader, load = registry_of(agent), Load()
        registry = ConsulRegistry(agent.url("services/speech"), ConsulAccess(), ttl_s=600)
        async with announcing(registry, load) as announcer:
            await seen(reader, [load.entry()])
            indexes, began_s = {await asyncio.to_thread(writes)}, time.monotonic()
            while (passed_s := time.monotonic() - began_s) < 5 or len(indexes) < 3:
                load.slots += 1  # whenever the announcer looks, there is news
                announcer.changed()
                indexes.add(await asyncio.to_thread(writes))
            assert len(indexes) <= passed_s + 2, (sorted(indexes), passed_s)

            load.slots = 100
            load.free = 100
            await seen(reader, [load.entry()])
            before = await asyncio.to_thread(writes)
            for free in (99, 95, 91):
                load.free = free
                announcer.changed()
                await asyncio.sleep(1.1)  # longer than any wait of the announcer
            assert await asyncio.to_thread(writes) == before, "a change of less than a tenth was written"
            for free in (90, 1, 0, 1):
                load.free = free
                await seen(reader, [load.entry()])
        await reader.close()

    run(scenario())


def test_a_token_for_its_service_is_enough(start_consul: Callable[..., ConsulAgent]) -> None:
    """`service "NAME" { policy = "write" }` and reading nodes; without, the announcer says what to change."""
    agent = start_consul(has_acl=True)
    right = agent.token_for('service "speech" { policy = "write" } node_prefix "" { policy = "read" }')
    wrong = agent.token_for('service "other" { policy = "write" }')

    async def scenario() -> None:
        mine = registry_of(agent, token=right)
        await mine.announce(entry("n1"))
        await mine.beat()
        assert await mine.nodes() == [entry("n1")]
        await mine.withdraw()
        assert await mine.nodes() == []
        other = registry_of(agent, token=wrong)
        with pytest.raises(RegistryUnreachableError, match="correct `center_token` or its policy"):
            await other.announce(entry("n2"))
        for one in (mine, other):
            await one.close()

    run(scenario())


def test_an_entry_that_consul_cannot_hold_is_told(shared_consul: ConsulAgent, prefix: str) -> None:
    """With the limit, and nothing is announced."""

    async def scenario() -> None:
        registry = registry_of(shared_consul, prefix)
        with pytest.raises(RegistryUnreachableError, match="Consul takes 30720"):
            await registry.announce(entry("n1", metadata={"x": "y" * 31_000}))
        assert await registry.nodes() == []
        await registry.close()

    run(scenario())


def test_what_consul_shows_to_others(shared_consul: ConsulAgent, prefix: str) -> None:
    """Its own tools find the address, the engines as tags, the zone; the check is a TTL that forgets the dead."""

    async def scenario() -> None:
        registry = registry_of(shared_consul, prefix)
        engines = (EngineEntry("b", "1"), EngineEntry("a", "1"), EngineEntry("a", "2"))
        await registry.announce(entry("n1", zone="eu-1", engines=engines))
        (row,) = await asyncio.to_thread(shared_consul.call, "GET", f"/health/service/{prefix}")
        service = row["Service"]
        assert (service["ID"], service["Address"], service["Port"]) == (f"{prefix}-n1", "192.0.2.7", 50051)
        assert service["Tags"] == ["a", "b"]
        assert (service["Meta"]["zone"], service["Meta"]["node"]) == ("eu-1", "n1")
        assert all(len(value) <= 512 for value in service["Meta"].values())
        check = next(one for one in row["Checks"] if one["CheckID"] == f"service:{prefix}-n1")
        assert (check["Status"], check["Type"]) == ("passing", "ttl")
        await registry.withdraw()
        await registry.close()

    run(scenario())

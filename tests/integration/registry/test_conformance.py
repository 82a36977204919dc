"""What every registry does, whatever keeps it. A new backend passes this suite, or it is none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import psutil
import pytest
from registry_backends import LEASE_S, Backend, entry

from loader.errors import LoaderError
from loader.registry import EngineEntry, NodeEntry, Registry

LIMIT_S = 60


def check(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a scenario in bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await scenario()

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def opened(open_it: Callable[[], Registry]) -> AsyncIterator[Registry]:
    registry = open_it()
    try:
        yield registry
    finally:
        await registry.withdraw()
        await registry.close()


async def until(
    news: AsyncIterator[list[NodeEntry] | LoaderError], nodes: list[NodeEntry]
) -> list[list[NodeEntry]]:
    """Waits until a watch tells exactly these nodes; everything that it told."""
    told = []
    async for item in news:
        assert isinstance(item, list), item
        told.append(item)
        if item == nodes:
            return told
    raise AssertionError("a watch ended")


def test_an_announced_node_is_seen_whole(backend: Backend) -> None:
    """Every field, by another reader."""
    engine = EngineEntry("asr", "1.2", 5, 40, 39, {"language": "zh-汉", "type": "asr"}, {"group": "gray"})
    mine = entry("n1", zone="eu-1", weight=50, is_tls=True, engines=(engine,), metadata={"rack": "7"})

    async def scenario() -> None:
        async with opened(backend.open) as registry, opened(backend.open) as reader:
            await registry.announce(mine)
            assert await reader.nodes() == [mine]

    check(scenario)


@pytest.mark.parametrize("count", [1, 10, 100])
def test_a_big_entry_is_seen_whole(backend: Backend, count: int) -> None:
    """Whatever limits of one value the registry has."""
    engines = tuple(
        EngineEntry(f"engine-{number}", "1.0", 100, 10, 10, {"language": "é" * 10, "note": "x" * 60})
        for number in range(count)
    )
    mine = entry("n1", engines=engines)

    async def scenario() -> None:
        async with opened(backend.open) as registry, opened(backend.open) as reader:
            await registry.announce(mine)
            assert await reader.nodes() == [mine]
            await registry.announce(entry("n1"))
            assert await reader.nodes() == [entry("n1")], "something of the big entry was left"

    check(scenario)


def test_watch_tells_what_is_there_then_every_change(backend: Backend) -> None:
    """Nobody first; a node, another, its new load, one less, nobody."""

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            one, two, reader = [await stack.enter_async_context(opened(backend.open)) for _ in range(3)]
            news = await stack.enter_async_context(contextlib.aclosing(reader.watch()))
            assert await anext(news) == []
            first, second = entry("n1"), entry("n2", engines=(EngineEntry("a", "1", slots=2, slots_free=2),))
            await one.announce(first)
            await until(news, [first])
            await two.announce(second)
            await until(news, [first, second])
            busy = entry("n2", engines=(EngineEntry("a", "1", slots=2, slots_free=0),))
            await two.announce(busy)
            await until(news, [first, busy])
            await one.withdraw()
            await until(news, [busy])
            await two.withdraw()
            await until(news, [])

    check(scenario)


def test_withdrawing_is_at_once_and_again_is_nothing(backend: Backend) -> None:
    """Gone for who asks next; a second time, or without ever having been there, it is no error."""

    async def scenario() -> None:
        async with opened(backend.open) as registry, opened(backend.open) as reader:
            await registry.withdraw()
            await registry.announce(entry("n1"))
            await registry.withdraw()
            assert await reader.nodes() == []
            await registry.withdraw()
            await registry.beat()
            assert await reader.nodes() == [], "a beat brought a withdrawn node back"
            await registry.announce(entry("n1"))
            assert await reader.nodes() == [entry("n1")]

    check(scenario)


def test_services_do_not_see_each_other(backend: Backend) -> None:
    """One registry holds many services."""

    async def scenario() -> None:
        async with opened(backend.open) as mine, opened(backend.other) as other:
            await mine.announce(entry("n1", 1))
            await other.announce(entry("n1", 2))
            assert (await mine.nodes(), await other.nodes()) == ([entry("n1", 1)], [entry("n1", 2)])
            await other.withdraw()
            assert await mine.nodes() == [entry("n1", 1)]

    check(scenario)


def test_a_node_that_starts_again_replaces_itself(backend: Backend) -> None:
    """The same name with another address is one node."""

    async def scenario() -> None:
        before = backend.open()
        await before.announce(entry("n1", 1))
        await before.close()  # it was killed: nothing was withdrawn
        async with opened(backend.open) as after:
            await after.announce(entry("n1", 2))
            assert await after.nodes() == [entry("n1", 2)]

    check(scenario)


def test_a_dead_node_expires_and_a_living_one_does_not(leased: Backend) -> None:
    """Who beats stays for several leases; who does not is gone after one."""

    async def beat(registry: Registry) -> None:
        while True:
            await asyncio.sleep(registry.beat_s)
            await registry.beat()

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            living, dead, reader = [await stack.enter_async_context(opened(leased.open)) for _ in range(3)]
            news = await stack.enter_async_context(contextlib.aclosing(reader.watch()))
            began_s = time.monotonic()
            await living.announce(entry("living"))
            await dead.announce(entry("dead"))
            beating = asyncio.create_task(beat(living))
            try:
                await until(news, [entry("dead"), entry("living")])
                await until(news, [entry("living")])
                assert LEASE_S * 0.5 < time.monotonic() - began_s < LEASE_S * 5
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(2 * LEASE_S):
                        await anext(news)
                assert await reader.nodes() == [entry("living")]
            finally:
                beating.cancel()

    check(scenario)


def test_a_node_that_was_forgotten_is_back_after_a_beat(backend: Backend) -> None:
    """A registry that lost its data is told again by whoever lives."""

    async def scenario() -> None:
        async with opened(backend.open) as registry, opened(backend.open) as reader:
            await registry.announce(entry("n1"))
            backend.forget("n1")
            assert await reader.nodes() == []
            await registry.beat()
            assert await reader.nodes() == [entry("n1")]

    check(scenario)


def test_what_other_programs_leave_there_is_passed_over(backend: Backend) -> None:
    """Instances of the same name that are no loaders, and half an entry."""
    backend.litter()

    async def scenario() -> None:
        async with opened(backend.open) as registry:
            await registry.announce(entry("n1"))
            assert await registry.nodes() == [entry("n1")]

    check(scenario)


def test_many_nodes_are_all_seen(backend: Backend) -> None:
    """Twenty nodes that come at once, by name."""
    nodes = [entry(f"n{number:02}", number + 1) for number in range(20)]

    async def scenario() -> None:
        async with contextlib.AsyncExitStack() as stack:
            registries = [await stack.enter_async_context(opened(backend.open)) for _ in nodes]
            reader = await stack.enter_async_context(opened(backend.open))
            news = await stack.enter_async_context(contextlib.aclosing(reader.watch()))
            await asyncio.gather(*(one.announce(node) for one, node in zip(registries, nodes, strict=True)))
            await until(news, nodes)

    check(scenario)


def test_nothing_is_left_after_close(backend: Backend) -> None:
    """No task, no thread, no file and no socket more than before; a watch is cancelled in the middle."""

    async def scenario() -> None:
        async with opened(backend.open) as registry:
            await registry.announce(entry("n1"))
            async with contextlib.aclosing(registry.watch()) as news:
                await anext(news)
                waiting = asyncio.ensure_future(anext(news))
                await asyncio.wait((waiting,), timeout=0.3)
                waiting.cancel()
                await asyncio.wait((waiting,), timeout=30)
                assert waiting.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    process = psutil.Process()
    check(scenario)  # what the first use of a library leaves open is not ours
    threads, files = threading.active_count(), process.num_fds()
    check(scenario)
    end_s = time.monotonic() + 30  # a thread that has closed all may not quite be gone
    while (seen := (threading.active_count(), process.num_fds())) and time.monotonic() < end_s:
        if seen[0] <= threads and seen[1] <= files:  # of earlier tests some may end meanwhile
            return
        time.sleep(0.02)
    raise AssertionError(f"threads, files: {threads, files} before, {seen} after")

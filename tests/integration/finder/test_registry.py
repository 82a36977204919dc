"""Registration in a finder, where clients of AIGES look: what they see, and who may change it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from finder_console import Console, framed, unframed
from running import until

from loader.errors import RegistryUnreachableError
from loader.registry import EngineEntry, NodeEntry
from loader.registry.finder import FinderRegistry

LIMIT_S = 60
ADDRESS = "192.0.2.7:50051"


def check(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a scenario in bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S):
            await scenario()

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def opened(console: Console) -> AsyncIterator[FinderRegistry]:
    registry = FinderRegistry(console.url)
    try:
        yield registry
    finally:
        await registry.close()


def node(free: int = 4, address: str = ADDRESS) -> NodeEntry:
    return NodeEntry("n1", address, engines=(EngineEntry("asr", "1", slots=4, slots_free=free),))


def expire(session: tuple[int, bytes], console: Console) -> None:
    """Ends a session of another, as ZooKeeper does that has not heard of it for too long."""
    from kazoo.client import KazooClient

    client = KazooClient(console.zookeeper.address, client_id=session)
    client.start(20)
    client.stop()
    client.close()


def test_after_its_session_expired_a_node_is_registered_again(console: Console) -> None:
    """By a beat, with the new session; and what ends it is the end of that one."""
    path = f"{console.provider_path}/{ADDRESS}"

    async def scenario() -> None:
        async with opened(console) as registry:
            await registry.announce(node())
            session = registry._link.session
            assert console.owner(path) == session != 0
            await asyncio.to_thread(expire, registry._link._client.client_id, console)
            await asyncio.to_thread(until, lambda: console.owner(path) != session, "the session expired")

            async def beaten() -> None:
                while console.owner(path) in (0, session):
                    with contextlib.suppress(RegistryUnreachableError):  # between two sessions
                        await registry.beat()
                    await asyncio.sleep(0.05)

            await beaten()
            assert console.owner(path) == registry._link.session
            assert await registry.nodes() == [node()]
        assert console.providers() == [], "who ended is still found"

    check(scenario)


def test_a_node_of_its_last_life_is_taken_over(console: Console) -> None:
    """A loader that was killed and starts at once at the same address: the old session's end must not remove it."""
    path = f"{console.provider_path}/{ADDRESS}"

    async def scenario() -> None:
        async with opened(console) as before, opened(console) as after:
            await before.announce(node())
            await after.announce(node(3))
            assert console.owner(path) == after._link.session
            await before.withdraw()  # nothing of it is left
            await before.close()
            assert await after.nodes() == [node(3)]
            assert console.providers() == [ADDRESS]

    check(scenario)


def test_what_a_console_writes_into_a_provider_stays(console: Console) -> None:
    """Load is told beside it, and touches no node that clients of AIGES watch; who is disabled is not found."""
    path = f"{console.provider_path}/{ADDRESS}"
    disabled = framed("p1", b'{"sdk": {"is_valid": false}, "user": {"weight": 3}}')

    async def scenario() -> None:
        async with opened(console) as registry:
            await registry.announce(node())
            assert json.loads(unframed(console.data(path))[1])["sdk"] == {"is_valid": True}
            async with contextlib.aclosing(registry.watch()) as news:
                assert await anext(news) == [node()]
                console.put(path, disabled)
                assert await anext(news) == []
                await registry.announce(node(1))
                await registry.beat()
                assert console.data(path) == disabled
                console.put(path, framed("p2", b'{"sdk": {"is_valid": true}}'))
                while (found := await anext(news)) != [node(1)]:
                    assert found == []

    check(scenario)


def test_nodes_without_data_disturb_nobody(console: Console) -> None:
    """Somebody made them by hand; a provider that says nothing is enabled."""

    async def scenario() -> None:
        async with opened(console) as registry:
            await registry.announce(node())
            console.put(f"{console.provider_path}/{ADDRESS}", None)
            console.put(f"{console.provider_path.replace('provider', 'loader')}/by-hand", None)
            assert await registry.nodes() == [node()]

    check(scenario)


@pytest.mark.parametrize("said", ["", None])
def test_where_the_companion_names_no_service_path_it_is_polaris_own(
    console: Console, said: str | None
) -> None:
    """The digest of project and group."""
    console.companion.answer["data"]["service_path"] = said
    root = f"/polaris/service/{hashlib.md5(b'AIpaashu').hexdigest()}"  # noqa: S324 - a finder's own

    async def scenario() -> None:
        async with opened(console) as registry:
            await registry.announce(node())
            assert console.names(f"{root}/{console.service}/1.0.0/provider") == [ADDRESS]
            await registry.withdraw()
            assert console.names(f"{root}/{console.service}/1.0.0/provider") == []

    check(scenario)


def test_a_name_is_told_as_numbers(console: Console) -> None:
    """Clients of AIGES dial IPv4 addresses; a new address replaces the old one."""

    async def scenario() -> None:
        async with opened(console) as registry:
            await registry.announce(node(address="localhost:7001"))
            assert console.providers() == ["127.0.0.1:7001"]
            await registry.announce(node(address="localhost:7002"))
            assert console.providers() == ["127.0.0.1:7002"]

    check(scenario)

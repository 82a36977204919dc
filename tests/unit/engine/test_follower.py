"""One loader's side of its center: what it begins with, what it says, what it keeps. The center is a real folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from loader.center import Acknowledgement, AckState, Center, Document, Revision, RevisionCache
from loader.center.file import FileCenter
from loader.consul_link import ConsulAccess
from loader.engine.follower import Follower
from loader.errors import BadConfigError, CenterUnreachableError, LoaderError

GOOD = Revision((Document("service.yaml", "a: 1"),))
DEAD = "consul://127.0.0.1:1/speech"  # nobody listens on port 1


def follower(center: Center, cache: RevisionCache | None) -> Follower:
    return Follower(center, cache, lambda: "n1")


async def until_some(ask: Callable[[], Awaitable[Sequence[object]]]) -> None:
    """Waits until there is an answer that is not empty."""
    async with asyncio.timeout(30):
        while True:
            if await ask():
                return
            await asyncio.sleep(0.01)


def consul() -> Center:
    from loader.center import open_center

    return open_center(DEAD, ConsulAccess())


def test_without_center_and_cache_there_is_nothing_to_begin_with(tmp_path: Path) -> None:
    """The error says that there was no earlier configuration either."""

    async def scenario() -> None:
        one = follower(consul(), RevisionCache(tmp_path, DEAD))
        with pytest.raises(
            CenterUnreachableError, match="no earlier configuration to serve: start the center"
        ):
            await one.first()
        await one.center.close()

    asyncio.run(scenario())


def test_without_center_the_cached_revision_is_the_beginning(tmp_path: Path) -> None:
    """And it is known that the center is away."""
    cache = RevisionCache(tmp_path, DEAD)
    cache.save(GOOD)

    async def scenario() -> None:
        one = follower(consul(), cache)
        assert await one.first() == GOOD
        assert (one.is_reachable, one.newest) == (False, None)
        await one.center.close()

    asyncio.run(scenario())


def test_a_center_without_a_root_leaves_the_cached_revision(tmp_path: Path) -> None:
    """It answers, so it is in reach; without a cache its error is the loader's."""
    (tmp_path / "center").mkdir()
    center = FileCenter(f"file:{tmp_path / 'center'}")
    cache = RevisionCache(tmp_path / "cache", center.url)

    async def scenario() -> None:
        with pytest.raises(BadConfigError, match=r"has no service\.yaml"):
            await follower(center, cache).first()
        cache.save(GOOD)
        one = follower(center, cache)
        assert await one.first() == GOOD
        assert one.is_reachable

    asyncio.run(scenario())


def test_what_serves_is_said_and_kept_with_the_same_word(tmp_path: Path) -> None:
    """The acknowledgement of a revision that serves names it as serving; the cache and the history have it."""
    (tmp_path / "center").mkdir()
    (tmp_path / "center" / "service.yaml").write_text("a: 1")
    center = FileCenter(f"file:{tmp_path / 'center'}")
    cache = RevisionCache(tmp_path / "cache", center.url)

    async def scenario() -> None:
        one = follower(center, cache)
        revision = await one.first()
        one.applied(revision, is_good=True)
        one.acknowledge(revision.name, AckState.APPLIED)
        sending = asyncio.create_task(one.send())
        await until_some(center.history)
        sending.cancel()
        (said,) = await center.acknowledgements()
        assert (said.node, said.revision, said.serving, said.state) == (
            "n1", revision.name, revision.name, AckState.APPLIED,
        )  # fmt: skip
        assert cache.load() == revision
        assert [(e.revision, e.author) for e in await center.history()] == [(revision, "n1")]

    asyncio.run(scenario())


def test_a_revision_that_is_not_good_is_not_kept(tmp_path: Path) -> None:
    """It serves in part: the next start without a center begins with the one before."""
    (tmp_path / "service.yaml").write_text("a: 1")
    center = FileCenter(f"file:{tmp_path}")
    cache = RevisionCache(tmp_path / "cache", center.url)
    cache.save(GOOD)
    other = Revision((Document("service.yaml", "a: 2"),))

    async def scenario() -> None:
        one = follower(center, cache)
        one.applied(other, is_good=False)
        one.acknowledge(other.name, AckState.APPLIED, "echo 1: failed")
        sending = asyncio.create_task(one.send())
        await until_some(center.acknowledgements)
        sending.cancel()
        assert cache.load() == GOOD
        assert await center.history() == []

    asyncio.run(scenario())


class Defective(FileCenter):
    """A folder whose first watch and first acknowledgement meet a defect of ours."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.met: set[str] = set()

    async def watch(self, known: str) -> AsyncGenerator[Revision | LoaderError, None]:
        self._break_once("watch")
        async for item in super().watch(known):
            yield item

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        self._break_once("acknowledge")
        await super().acknowledge(acknowledgement)

    def _break_once(self, what: str) -> None:
        if what not in self.met:
            self.met.add(what)
            raise ZeroDivisionError(what)


def test_a_defect_ends_neither_watching_nor_sending(tmp_path: Path) -> None:
    """A loader that hears and says nothing any more looks as if all were well."""
    (tmp_path / "service.yaml").write_text("a: 1")

    async def scenario() -> None:
        center = Defective(f"file:{tmp_path}")
        one = follower(center, None)
        offered: asyncio.Queue[Revision] = asyncio.Queue()
        await one.first()
        tasks = [
            asyncio.create_task(one.follow(offered.put_nowait, lambda _: None)),
            asyncio.create_task(one.send()),
        ]
        one.acknowledge("r1", AckState.APPLIED)
        (tmp_path / "service.yaml").write_text("a: 2")
        async with asyncio.timeout(20):
            assert (await offered.get()).root.text == "a: 2"
        await until_some(center.acknowledgements)
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())

"""What every config center does, whatever keeps it. A new backend passes this suite, or it is none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import psutil
import pytest
from backends import Backend

from loader.center import Acknowledgement, AckState, Center, Document, Revision
from loader.center.values import HISTORY_KEPT
from loader.errors import BadConfigError, ConflictError, LoaderError

ROOT = "service.yaml"
LIMIT_S = 60
CALL_LIMIT_S = 30


def check(backend: Backend, scenario: Callable[[Center], Coroutine[Any, Any, None]]) -> None:
    """Runs a scenario with a center, which is closed after it, in bounded time."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT_S), opened(backend) as center:
            await scenario(center)

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def opened(backend: Backend) -> AsyncIterator[Center]:
    center = backend.open()
    try:
        yield center
    finally:
        await center.close()


def texts(revision: Revision | LoaderError) -> dict[str, str]:
    assert isinstance(revision, Revision), revision
    return {one.name: one.text for one in revision.documents}


async def next_after(center: Center, known: str, change: Callable[[], None]) -> Revision | LoaderError:
    """What a watch tells first, where the change comes while it already waits."""
    async with contextlib.aclosing(center.watch(known)) as news:
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.wait((waiting,), timeout=0.3)
        assert not waiting.done(), "a watch told what was known"
        await asyncio.to_thread(change)
        return await waiting


# ---- load


def test_documents_are_loaded_with_the_root_first(backend: Backend) -> None:
    """All documents, by name after the root; what is no document is left out."""
    for name in ("b.yaml", ROOT, "a/z.yml", "notes.txt", ".hidden.yaml", ".old/x.yaml"):
        backend.write(name, f"# {name}")

    async def scenario(center: Center) -> None:
        revision = await center.load()
        assert [one.name for one in revision.documents] == [ROOT, "a/z.yml", "b.yaml"]
        assert revision.root.text == f"# {ROOT}"
        for one in revision.documents:
            assert center.origin_of(one.name).endswith(f"/{one.name}")

    check(backend, scenario)


def test_a_revision_is_what_its_documents_say(any_backend: Backend) -> None:
    """The name of a revision is of its content: the same in every backend and for every reader."""
    any_backend.write(ROOT, "grpc: 127.0.0.1:0\n# é\n")

    async def scenario(center: Center) -> None:
        expected = Revision((Document(ROOT, "grpc: 127.0.0.1:0\n# é\n"),))
        assert (await center.load()) == expected

    check(any_backend, scenario)


def test_an_empty_center_says_what_it_misses(any_backend: Backend) -> None:
    """The error names the root's full name."""

    async def scenario(center: Center) -> None:
        with pytest.raises(BadConfigError, match=r"has no .*service\.yaml"):
            await center.load()

    check(any_backend, scenario)


def test_what_is_not_text_is_refused_with_its_name(backend: Backend) -> None:
    """A broken document is told by name and byte, when loaded and when watched."""
    backend.write(ROOT, "a")
    backend.spoil("other.yaml")

    async def scenario(center: Center) -> None:
        with pytest.raises(BadConfigError, match=r"other\.yaml: is not UTF-8 text"):
            await center.load()

    check(backend, scenario)


# ---- watch


@pytest.mark.parametrize("name", [ROOT, "shared.yaml", "deep/shared.yaml"])
def test_a_change_of_any_document_is_told(backend: Backend, name: str) -> None:
    """The root, and what it includes."""
    for one in (ROOT, "shared.yaml", "deep/shared.yaml"):
        backend.write(one, "x: 1")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        news = await next_after(center, known, lambda: backend.write(name, "x: 2"))
        assert texts(news)[name] == "x: 2"

    check(backend, scenario)


def test_a_new_and_a_deleted_document_are_told(backend: Backend) -> None:
    """A revision has exactly the documents that are there."""
    backend.write(ROOT, "x: 1")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        more = await next_after(center, known, lambda: backend.write("more.yaml", "y: 1"))
        assert texts(more) == {ROOT: "x: 1", "more.yaml": "y: 1"}
        assert isinstance(more, Revision)
        less = await next_after(center, more.name, lambda: backend.remove("more.yaml"))
        assert texts(less) == {ROOT: "x: 1"}

    check(backend, scenario)


def test_a_change_before_the_watch_is_told(any_backend: Backend) -> None:
    """Nothing falls between load() and watch()."""
    any_backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        any_backend.write(ROOT, "b")
        async with contextlib.aclosing(center.watch(known)) as news:
            assert texts(await anext(news)) == {ROOT: "b"}

    check(any_backend, scenario)


def test_watch_tells_every_change_in_its_order(any_backend: Backend) -> None:
    """One after the other, each once, when each is waited for."""
    any_backend.write(ROOT, "0")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            for number in range(1, 6):
                any_backend.write(ROOT, str(number))
                assert texts(await anext(news)) == {ROOT: str(number)}

    check(any_backend, scenario)


def test_every_watcher_ends_with_the_last_of_many_changes(any_backend: Backend) -> None:
    """Changes may be coalesced; the last one may not."""
    any_backend.write(ROOT, "0")

    async def last(center: Center, known: str) -> None:
        async with contextlib.aclosing(center.watch(known)) as news:
            async for item in news:
                if texts(item) == {ROOT: "100"}:
                    return

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with opened(any_backend) as second, asyncio.TaskGroup() as group:
            group.create_task(last(center, known))
            group.create_task(last(second, known))
            for number in range(1, 101):
                await asyncio.to_thread(any_backend.write, ROOT, str(number))

    check(any_backend, scenario)


def test_trouble_with_the_documents_is_told_once_and_then_the_cure(backend: Backend) -> None:
    """The root is deleted: one error, though something else changes; the same text again is news after it."""
    backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.to_thread(backend.remove, ROOT)
            assert isinstance(await waiting, BadConfigError)
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.to_thread(backend.write, "other.yaml", "b")
            await asyncio.wait((waiting,), timeout=1)
            assert not waiting.done(), "trouble was told twice"
            await asyncio.to_thread(backend.write, ROOT, "a")
            assert texts(await waiting) == {ROOT: "a", "other.yaml": "b"}

    check(backend, scenario)


def test_a_root_that_goes_and_comes_is_told_once_each(any_backend: Backend) -> None:
    """What is not text, too; the same text is news after it."""
    any_backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            for trouble in (any_backend.remove, any_backend.spoil):
                waiting = asyncio.ensure_future(anext(news))
                await asyncio.to_thread(trouble, ROOT)
                assert isinstance(await waiting, BadConfigError)
                waiting = asyncio.ensure_future(anext(news))
                await asyncio.to_thread(any_backend.write, ROOT, "a")
                assert texts(await waiting) == {ROOT: "a"}

    check(any_backend, scenario)


# ---- put


def test_put_is_loaded_watched_and_remembered(backend: Backend) -> None:
    """One change: what it returns, what others load, what a watch tells and the history are the same revision."""

    async def scenario(center: Center) -> None:
        first = await center.put([Document(ROOT, "a")], "", "ann", "begin")
        async with contextlib.aclosing(center.watch(first.name)) as news:
            second = await center.put(
                [Document(ROOT, "b"), Document("more.yaml", "c")], first.name, "bob", "more"
            )
            assert await anext(news) == second == await center.load()
        assert texts(second) == {ROOT: "b", "more.yaml": "c"}
        entries = [(e.revision, e.author, e.message) for e in await center.history()]
        assert entries == [(second, "bob", "more"), (first, "ann", "begin")]

    check(backend, scenario)


def test_an_empty_text_deletes(backend: Backend) -> None:
    """All but the root."""

    async def scenario(center: Center) -> None:
        first = await center.put([Document(ROOT, "a"), Document("more.yaml", "b")], "", "me")
        second = await center.put([Document("more.yaml", "")], first.name, "me")
        assert texts(second) == texts(await center.load()) == {ROOT: "a"}
        with pytest.raises(BadConfigError, match=r"service\.yaml.*cannot be missing"):
            await center.put([Document(ROOT, "")], second.name, "me")
        assert await center.load() == second

    check(backend, scenario)


def test_a_put_onto_another_revision_is_refused(backend: Backend) -> None:
    """Whoever changed it in between, and by whatever tool; nothing is written."""
    backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        seen = await center.load()
        backend.write("other.yaml", "by hand")
        for expected in (seen.name, "", "000000000000"):
            with pytest.raises(ConflictError, match="read it again"):
                await center.put([Document(ROOT, "mine")], expected, "me")
        assert texts(await center.load()) == {ROOT: "a", "other.yaml": "by hand"}
        assert await center.history() == []

    check(backend, scenario)


@pytest.mark.parametrize("name", ["../out.yaml", "/out.yaml", "a//b.yaml", ".loader/x.yaml", "notes.txt", ""])
def test_a_name_that_is_no_documents_is_refused(backend: Backend, name: str) -> None:
    """What would not be loaded again, or lies outside, is not written."""

    async def scenario(center: Center) -> None:
        held = await center.put([Document(ROOT, "a")], "", "me")
        with pytest.raises(BadConfigError, match="no document's name"):
            await center.put([Document(name, "x")], held.name, "me")
        assert await center.load() == held

    check(backend, scenario)


def test_no_increment_of_several_writers_is_lost(backend: Backend) -> None:
    """4 writers add 1 ten times each, by compare-and-set: 40."""
    writers, times = 4, 10

    async def write(center: Center) -> None:
        for _ in range(times):
            while True:
                held = await center.load()
                number = int(held.root.text) + 1
                with contextlib.suppress(ConflictError):
                    await center.put([Document(ROOT, str(number))], held.name, "writer")
                    break

    async def scenario(center: Center) -> None:
        await center.put([Document(ROOT, "0")], "", "me")
        async with contextlib.AsyncExitStack() as stack:
            centers = [await stack.enter_async_context(opened(backend)) for _ in range(writers)]
            async with asyncio.TaskGroup() as group:
                for one in centers:
                    group.create_task(write(one))
        assert (await center.load()).root.text == str(writers * times)

    check(backend, scenario)


def test_of_two_who_add_different_documents_one_is_refused(backend: Backend) -> None:
    """A put is onto a revision, not onto a document: what was not there when it was read counts, too."""

    async def scenario(center: Center) -> None:
        held = await center.put([Document(ROOT, "0")], "", "me")
        for round_number in range(10):
            async with opened(backend) as second:
                puts = [
                    one.put([Document(f"{name}{round_number}.yaml", "x")], held.name, name)
                    for name, one in (("a", center), ("b", second))
                ]
                results = await asyncio.gather(*puts, return_exceptions=True)
            refused = [one for one in results if isinstance(one, ConflictError)]
            done = [one for one in results if isinstance(one, Revision)]
            assert (len(refused), len(done)) == (1, 1), results
            held = await center.load()
            assert held == done[0]

    check(backend, scenario)


def test_no_reader_sees_half_of_a_put(backend: Backend) -> None:
    """Documents of one put appear together, in load and in watch."""
    names = [ROOT, *(f"d{number}.yaml" for number in range(8))]

    async def read(center: Center, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            found = set(texts(await center.load()).values())
            assert len(found) == 1, found

    async def scenario(center: Center) -> None:
        held = await center.put([Document(name, "0") for name in names], "", "me")
        is_over = asyncio.Event()
        async with opened(backend) as reader, asyncio.TaskGroup() as group:
            group.create_task(read(reader, is_over))
            for number in range(1, 21):
                held = await center.put([Document(name, str(number)) for name in names], held.name, "me")
            is_over.set()

    check(backend, scenario)


# ---- acknowledgements and history


def test_what_nodes_say_is_read_by_anybody(backend: Backend) -> None:
    """The last word of each node, by name, every field."""
    backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        last = Acknowledgement("n1", "r2", AckState.REFUSED, "service.yaml:3: é", "r1", 1.5, 1e9)
        other = Acknowledgement("n-2.example", "r1", AckState.STALE)
        for one in (Acknowledgement("n1", "r1", AckState.APPLIED), last, other):
            await center.acknowledge(one)
        async with opened(backend) as reader:
            assert await reader.acknowledgements() == [other, last]

    check(backend, scenario)


def test_an_acknowledgement_is_no_change(backend: Backend) -> None:
    """Loaders that write do not wake each other."""
    backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await center.acknowledge(Acknowledgement("n", known, AckState.APPLIED))
            await center.record(await center.load(), "n")
            await asyncio.wait((waiting,), timeout=1)
            assert not waiting.done()
            backend.write(ROOT, "b")
            assert texts(await waiting) == {ROOT: "b"}

    check(backend, scenario)


def test_a_revision_is_recorded_once(backend: Backend) -> None:
    """Every loader records what it sees; the first one's word stays."""
    backend.write(ROOT, "a")

    async def scenario(center: Center) -> None:
        revision = await center.load()
        async with contextlib.AsyncExitStack() as stack:
            others = [await stack.enter_async_context(opened(backend)) for _ in range(4)]
            await center.record(revision, "first")
            await asyncio.gather(*(one.record(revision, "later") for one in others))
        assert [(e.revision, e.author) for e in await center.history()] == [(revision, "first")]

    check(backend, scenario)


def test_history_is_newest_first_and_a_return_is_news(backend: Backend) -> None:
    """Going back to a revision makes it the newest entry."""

    async def scenario(center: Center) -> None:
        held = ""
        for text in ("a", "b", "c", "a"):
            held = (await center.put([Document(ROOT, text)], held, "me")).name
        assert [e.revision.root.text for e in await center.history()] == ["a", "c", "b"]

    check(backend, scenario)


def test_history_is_bounded(backend: Backend) -> None:
    """The oldest entries go."""
    more = 5

    async def scenario(center: Center) -> None:
        held = ""
        for number in range(HISTORY_KEPT + more):
            held = (await center.put([Document(ROOT, str(number))], held, "me")).name
        kept = [int(e.revision.root.text) for e in await center.history()]
        assert kept == list(range(HISTORY_KEPT + more - 1, more - 1, -1))

    check(backend, scenario)


# ---- life


def test_calls_are_bounded_and_nothing_is_left(backend: Backend) -> None:
    """After close: no task, no thread, no file and no socket more than before."""
    backend.write(ROOT, "a")
    process = psutil.Process()

    async def scenario(center: Center) -> None:
        revision = await center.load()
        async with contextlib.aclosing(center.watch(revision.name)) as news:
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            async with asyncio.timeout(CALL_LIMIT_S):
                held = await center.put([Document(ROOT, "b")], revision.name, "me")
                await center.acknowledge(Acknowledgement("n", held.name, AckState.APPLIED))
                await center.acknowledgements()
                await center.history()
            await waiting
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.wait((waiting,), timeout=0.3)
            waiting.cancel()  # in the middle of a wait
            await asyncio.wait((waiting,), timeout=CALL_LIMIT_S)
            assert waiting.cancelled()
        await center.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    check(backend, scenario)  # what the first use of a library leaves open is not ours
    threads, files = threading.active_count(), process.num_fds()  # of earlier tests, which may end meanwhile
    backend.write(ROOT, "a")
    check(backend, scenario)
    # A worker of anyio is told to end and not waited for.
    end_s = time.monotonic() + CALL_LIMIT_S
    while (seen := (threading.active_count(), process.num_fds())) and time.monotonic() < end_s:
        if seen[0] <= threads and seen[1] <= files:
            return
        time.sleep(0.02)
    raise AssertionError(f"threads, files: {threads, files} before, {seen} after")

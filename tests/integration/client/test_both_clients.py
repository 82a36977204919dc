"""The same cases for Client and AsyncClient: what fails, and what is cancelled, is said the same way by both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import pytest

from loader import errors
from loader.client import AsyncClient, AsyncSession, Client

TIMEOUT_S = 30.0


class BlockingSession:
    """An AsyncSession that is used as a ClientSession is."""

    def __init__(self, runner: asyncio.Runner, session: AsyncSession) -> None:
        self._runner = runner
        self._session = session

    @property
    def final(self) -> Any:
        return self._session.final

    def write(self, items: Any) -> None:
        self._runner.run(self._session.write(items))

    def end(self) -> None:
        self._runner.run(self._session.end())

    def cancel(self) -> None:
        self._session.cancel()

    def results(self) -> Iterator[Any]:
        return stepwise(self._runner, self._session.results())

    def stream(self, frames: Iterable[Any]) -> Iterator[Any]:
        return stepwise(self._runner, self._session.stream(frames))

    def __enter__(self) -> BlockingSession:
        self._runner.run(self._session.__aenter__())
        return self

    def __exit__(self, *given: object) -> None:
        self._runner.run(self._session.__aexit__(*given))


def stepwise(runner: asyncio.Runner, results: AsyncIterator[Any]) -> Iterator[Any]:
    """The results of an asynchronous generator one by one, closed with this one."""

    async def step() -> list[Any]:
        return [one async for one in first(results)]

    async def first(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            yield await anext(source)
        except StopAsyncIteration:
            return

    try:
        while found := runner.run(step()):
            yield from found
    finally:
        runner.run(results.aclose())  # type: ignore[attr-defined]


class BlockingAsync:
    """An AsyncClient that is used as a Client is."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner = runner
        self._client = client

    def exec_stream(self, *given: Any, **named: Any) -> Iterator[Any]:
        return stepwise(self._runner, self._client.exec_stream(*given, **named))

    def session(self, *given: Any, **named: Any) -> BlockingSession:
        return BlockingSession(self._runner, self._client.session(*given, **named))


@contextmanager
def blocking(address: str) -> Iterator[Any]:
    with Client(address) as client:
        yield client


@contextmanager
def asynchronous(address: str) -> Iterator[Any]:
    async def make() -> AsyncClient:
        return AsyncClient(address)

    with asyncio.Runner() as runner:
        client = runner.run(make())
        yield BlockingAsync(runner, client)
        runner.run(client.close())


@pytest.fixture(params=[blocking, asynchronous])
def client(request: pytest.FixtureRequest, address: str) -> Iterator[Any]:
    """Either client; the tests cannot tell which."""
    make: Callable[[str], Any] = request.param
    with make(address) as made:
        yield made


def test_a_streamed_exec_gives_every_result(client: Any) -> None:
    """In order, and its end is the end."""
    results = client.exec_stream("moody", {"count": 50}, timeout_s=TIMEOUT_S)
    assert [result["n"] for result in results] == list(range(50))


def test_a_streamed_exec_that_fails_gives_what_came_before(client: Any) -> None:
    """Then the engine's own error."""
    results = client.exec_stream("moody", {"count": 3, "fail": 1}, timeout_s=TIMEOUT_S)
    assert [result["n"] for result in islice(results, 3)] == [0, 1, 2]
    with pytest.raises(errors.EngineError, match="bad mood") as caught:
        next(results)
    assert (caught.value.engine_code, caught.value.engine_message) == (7, "bad mood")


def test_closing_a_streamed_exec_cancels_it(client: Any) -> None:
    """A million results are not waited for."""
    results = client.exec_stream("moody", {"count": 1_000_000}, timeout_s=TIMEOUT_S)
    assert next(results)["n"] == 0
    started = time.monotonic()
    results.close()
    assert time.monotonic() - started < TIMEOUT_S / 3


def test_what_the_frames_raise_is_raised(client: Any) -> None:
    """Not the cancellation that follows from it."""

    def frames() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise KeyError("microphone")

    with client.session("moody", timeout_s=TIMEOUT_S) as session, pytest.raises(KeyError, match="microphone"):
        list(session.stream(frames()))


def test_an_error_of_ours_that_the_frames_raise_is_raised(client: Any) -> None:
    """Frames may come from another session: its end is not this one's."""

    def frames() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise errors.QueueFullError("another engine's")

    with client.session("moody", timeout_s=TIMEOUT_S) as session, pytest.raises(errors.QueueFullError):
        list(session.stream(frames()))


def test_a_frame_that_cannot_be_sent_is_told(client: Any) -> None:
    """The TypeError of the value, out of the stream."""
    with client.session("moody", timeout_s=TIMEOUT_S) as session, pytest.raises(TypeError, match="object"):
        list(session.stream([{"n": object()}]))


def test_the_engines_error_ends_a_stream(client: Any) -> None:
    """The session's error, not what writing into a session that is over says."""
    frames = ({"n": n, "fail": 1} if n == 5 else {"n": n} for n in range(100_000))
    with client.session("moody", timeout_s=TIMEOUT_S) as session:
        with pytest.raises(errors.EngineError, match="bad mood"):
            list(session.stream(frames))
        assert session.final.reason == "engine_error"


def test_a_write_after_the_end_says_why_it_ended(client: Any) -> None:
    """The engine's error, as often as one asks; not what gRPC makes of it."""
    with client.session("moody", timeout_s=TIMEOUT_S) as session:
        session.write({"n": 1})
        session.write({"fail": 1})
        with closing(session.results()) as results:
            assert next(results)["n"] == 1
        for _ in range(2):
            with pytest.raises(errors.EngineError, match="bad mood"):
                list(session.results())
            with pytest.raises(errors.EngineError, match="bad mood"):
                session.write({"n": 2})
        session.end()


def test_the_deadline_ends_a_stream(client: Any) -> None:
    """Frames that never end: the whole session has timeout_s."""

    def frames() -> Iterator[dict[str, int]]:
        while True:
            yield {"n": 1}
            time.sleep(0.005)  # a pace, as a microphone has

    with pytest.raises(errors.DeadlineExceededError), client.session("moody", timeout_s=0.5) as session:
        list(session.stream(frames()))


def test_the_deadline_ends_a_session_that_waits(client: Any) -> None:
    """Nothing is written, nothing comes."""
    with pytest.raises(errors.DeadlineExceededError), client.session("moody", timeout_s=0.5) as session:
        list(session.results())


def test_an_own_cancel_is_told_as_such(client: Any) -> None:
    """loader.errors.CancelledError: asyncio's own would end the task silently."""
    with client.session("moody", timeout_s=TIMEOUT_S) as session:
        session.cancel()
        with pytest.raises(errors.CancelledError):
            list(session.results())


def test_leaving_a_stream_early_ends_the_session(client: Any) -> None:
    """The frames are not asked for any more."""
    asked = 0

    def frames() -> Iterator[dict[str, int]]:
        nonlocal asked
        while True:
            asked += 1
            yield {"n": asked}

    with client.session("moody", timeout_s=TIMEOUT_S) as session:
        results = session.stream(frames())
        assert next(results)["n"] == 1
        results.close()
        stopped_at = asked
        with pytest.raises(errors.LoaderError):
            list(session.results())
        assert asked == stopped_at


@pytest.mark.parametrize("use", ["write", "end", "cancel", "results"])
def test_a_session_is_used_inside_its_with(client: Any, use: str) -> None:
    """Before it, every method says what is missing."""
    session = client.session("moody", timeout_s=TIMEOUT_S)
    calls: dict[str, Callable[[], object]] = {
        "write": lambda: session.write({"n": 1}),
        "end": session.end,
        "cancel": session.cancel,
        "results": lambda: list(session.results()),
    }
    with pytest.raises(RuntimeError, match=r"not open: use `(async )?with client\.session"):
        calls[use]()


def test_a_session_is_opened_once(client: Any) -> None:
    """A second `with` says so."""
    session = client.session("moody", timeout_s=TIMEOUT_S)
    with session:
        pass
    with pytest.raises(RuntimeError, match="opened once"), session:
        pass


def test_a_writer_that_reads_nothing_learns_of_the_end(address: str) -> None:
    """And what came before the end is still there to be read."""

    async def run() -> None:
        async with AsyncClient(address) as client, client.session("moody", timeout_s=TIMEOUT_S) as session:
            await session.write({"n": 1})
            with pytest.raises(errors.EngineError, match="bad mood"):
                while True:
                    await session.write({"fail": 1})
            results = session.results()
            assert (await anext(results))["n"] == 1
            with pytest.raises(errors.EngineError, match="bad mood"):
                await anext(results)

    asyncio.run(run())


def test_cancelling_the_task_is_not_the_sessions_cancel(address: str) -> None:
    """A task that is cancelled from outside ends as asyncio wants it, session and all."""

    async def use(is_open: asyncio.Event) -> None:
        async with AsyncClient(address) as client, client.session("moody", timeout_s=TIMEOUT_S) as session:
            is_open.set()
            async for _ in session.results():
                pass

    async def run() -> None:
        is_open = asyncio.Event()
        task = asyncio.create_task(use(is_open))
        await asyncio.wait_for(is_open.wait(), TIMEOUT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, TIMEOUT_S)

    asyncio.run(run())


def test_a_task_group_learns_what_the_frames_raise(address: str) -> None:
    """asyncio.CancelledError in its place would end the group without a word."""

    async def frames() -> AsyncIterator[dict[str, int]]:
        yield {"n": 1}
        raise KeyError("microphone")

    async def use() -> None:
        async with AsyncClient(address) as client, client.session("moody", timeout_s=TIMEOUT_S) as session:
            async for _ in session.stream(frames()):
                pass

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(use())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run())
    assert caught.group_contains(KeyError, match="microphone")


WAITING = {"count": 1, "wait": 1}


def test_closing_the_asyncio_client_is_told_to_whoever_uses_it(address: str) -> None:
    """loader.errors.CancelledError, of calls and sessions: asyncio's own is for tasks that somebody cancels."""

    async def run() -> None:
        client = AsyncClient(address)
        async with client.session("moody", timeout_s=TIMEOUT_S) as session:
            stream = client.exec_stream("moody", WAITING, timeout_s=TIMEOUT_S)
            open_ones = [
                asyncio.ensure_future(client.exec("moody", WAITING, timeout_s=TIMEOUT_S)),
                asyncio.ensure_future(anext(session.results())),
            ]
            assert (await anext(stream))["n"] == 0  # by now the others have begun
            open_ones.append(asyncio.ensure_future(anext(stream)))
            await asyncio.sleep(0)
            await client.close()
            done, left = await asyncio.wait(open_ones, timeout=TIMEOUT_S)
        assert not left
        assert not [one for one in done if one.cancelled()]
        assert {type(one.exception()) for one in done} == {errors.CancelledError}

    asyncio.run(run())


def test_closing_the_blocking_client_is_told_to_whoever_uses_it(address: str) -> None:
    """The same."""
    with Client(address) as client, ThreadPoolExecutor(2) as pool:
        stream = client.exec_stream("moody", WAITING, timeout_s=TIMEOUT_S)
        assert next(stream)["n"] == 0
        session = client.session("moody", timeout_s=TIMEOUT_S).__enter__()
        waiting = [pool.submit(next, stream), pool.submit(next, session.results())]
        client.close()
        for one in waiting:
            with pytest.raises(errors.CancelledError):
                one.result(TIMEOUT_S)

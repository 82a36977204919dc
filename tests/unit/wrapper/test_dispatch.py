"""Every way of giving results: return, yield, PENDING, async; and every way of failing."""

# ruff: noqa: RUF012  declarations are class attributes by design

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from loader import (
    PENDING,
    CloseReason,
    Config,
    Error,
    Float,
    Frame,
    Int,
    Params,
    Rejected,
    Request,
    Session,
    Str,
    Wrapper,
)
from loader.host.driver import Driver
from loader.testing import EngineFailure, open_wrapper

INTERNAL = -8
INVALID_INPUT = -7
UNSUPPORTED = -5
CLOSED = -3


def values(frames: list[Any]) -> list[Any]:
    """The plain result of each frame."""
    return [frame["result"] for frame in frames]


class Ways(Wrapper):
    """One exec for each way of giving results, chosen by the item `way`."""

    def exec(self, request: Request) -> Any:
        return getattr(self, request["way"])(request)

    def nothing(self, _request: Request) -> None:
        return None

    def once(self, _request: Request) -> str:
        return "a"

    def generator(self, _request: Request) -> Iterator[str | None]:
        yield "a"
        yield None
        yield "b"

    def iterator(self, _request: Request) -> Iterator[str]:
        return iter(["a", "b"])

    async def coroutine(self, _request: Request) -> str:
        await asyncio.sleep(0)
        return "a"

    async def async_generator(self, _request: Request) -> AsyncIterator[str]:
        yield "a"
        await asyncio.sleep(0)
        yield "b"

    async def awaited_emit(self, request: Request) -> None:
        await request.emit_async("a")
        await request.emit_async("b", position=3)

    def emitted(self, request: Request) -> str:
        request.emit("a")
        return "b"

    def pending(self, request: Request) -> Any:
        def work() -> None:
            request.emit("a")
            request.emit("b")
            request.finish()

        threading.Thread(target=work).start()
        return PENDING

    def pending_failure(self, request: Request) -> Any:
        threading.Thread(target=lambda: request.finish(Error(17, "no luck"))).start()
        return PENDING

    async def pending_from_coroutine(self, request: Request) -> Any:
        asyncio.get_running_loop().call_soon(request.finish)
        return PENDING


@pytest.mark.parametrize("window", [0, 1])
@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("nothing", []),
        ("once", ["a"]),
        ("generator", ["a", "b"]),
        ("iterator", ["a", "b"]),
        ("coroutine", ["a"]),
        ("async_generator", ["a", "b"]),
        ("awaited_emit", ["a", "b"]),
        ("pending", ["a", "b"]),
        ("pending_from_coroutine", []),
    ],
)
def test_every_way_of_giving_results_works(way: str, expected: list[str], window: int) -> None:
    """Return, yield, await and PENDING give the same results, with credit for one or for all."""
    with open_wrapper(Ways, window=window) as engine:
        assert values(engine.exec({"way": way})) == expected


def test_emit_and_return_mix() -> None:
    """What exec emits comes before what it returns."""
    with open_wrapper(Ways) as engine:
        assert values(engine.exec({"way": "emitted"})) == ["a", "b"]


def test_finish_with_an_error_fails_the_call() -> None:
    """A pending call ends with the code and text that finish was given."""
    with open_wrapper(Ways) as engine, pytest.raises(EngineFailure) as failure:
        engine.exec({"way": "pending_failure"})
    assert failure.value.args == (17, "no luck")


class Raising(Wrapper):
    """Raises what config says, in exec, in a generator, or in a coroutine."""

    def exec(self, request: Request) -> Any:
        error = {
            "value": ValueError("bad luck"),
            "empty": ZeroDivisionError(),
            "exit": SystemExit(3),
            "interrupt": KeyboardInterrupt(),
            "own": Error(42, "own text"),
            "rejected": Rejected("not that"),
            "textless": Textless(),
        }[request["error"]]
        if request["place"] == "exec":
            raise error
        return getattr(self, request["place"])(error)

    def generator(self, error: BaseException) -> Iterator[str]:
        yield "before"
        raise error

    async def coroutine(self, error: BaseException) -> None:
        await asyncio.sleep(0)
        raise error

    async def async_generator(self, error: BaseException) -> AsyncIterator[str]:
        yield "before"
        raise error


class Textless(Exception):  # noqa: N818
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("place", ["exec", "generator", "coroutine", "async_generator"])
@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        ("value", INTERNAL, "ValueError: bad luck"),
        ("empty", INTERNAL, "ZeroDivisionError"),
        ("exit", INTERNAL, "SystemExit: 3"),
        ("interrupt", INTERNAL, "KeyboardInterrupt"),
        ("own", 42, "own text"),
        ("rejected", INVALID_INPUT, "not that"),
        ("textless", INTERNAL, "Textless: (its text could not be made)"),
    ],
)
def test_exception_reaches_the_caller_and_the_engine_lives_on(
    place: str, error: str, status: int, text: str
) -> None:
    """Type and message go to the caller; SystemExit is an engine's error like any other."""
    with open_wrapper(Raising) as engine:
        for _ in range(2):
            with pytest.raises(EngineFailure) as failure:
                engine.exec({"error": error, "place": place})
            assert failure.value.args == (status, text)


def test_traceback_goes_to_the_log_and_not_to_the_caller() -> None:
    """The author finds the line, the client does not see the code."""
    with open_wrapper(Raising) as engine:
        with pytest.raises(EngineFailure) as failure:
            engine.exec({"error": "value", "place": "exec"})
        [(level, text)] = engine.log_lines
    assert level == 40
    assert "raise error" in text
    assert "Traceback" not in failure.value.args[1]


class Recording(Wrapper):
    """Sessions that write down what happens to them."""

    def __init__(self) -> None:
        self.events = EVENTS

    def create(self, params: Params) -> Session:
        self.events.clear()
        if params.get("fail"):
            raise ValueError("not today")
        if params.get("hello"):
            params.emit("hello")
        return RecordingSession(self.events, str(params.get("way", "plain")))


EVENTS: list[str] = []


class RecordingSession(Session):
    def __init__(self, events: list[str], way: str) -> None:
        self.events, self.way = events, way
        self.started = threading.Event()

    def write(self, frame: Frame) -> Any:
        self.events.append(f"write {frame.seq}")
        return getattr(self, self.way)()

    def plain(self) -> str:
        return "w"

    def endless(self) -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            self.events.append("generator closed")

    async def sleeper(self) -> None:
        try:
            self.emit("asleep")
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            self.events.append("coroutine ended")

    def later(self) -> Any:
        return PENDING

    def end(self) -> str:
        self.events.append("end")
        return "e"

    def cancel(self, reason: CloseReason) -> None:
        self.events.append(f"cancel {reason}")

    def destroy(self, reason: CloseReason) -> None:
        self.events.append(f"destroy {reason}")


class Overtaking(Wrapper):
    """A call is finished from elsewhere before its coroutine has returned PENDING, and the next one begins."""

    def create(self, params: Params) -> Session:
        return OvertakenSession()


class OvertakenSession(Session):
    """Its first coroutine goes on until the second one runs."""

    is_overtaken: asyncio.Event | None = None

    async def write(self, frame: Frame) -> Any:
        if self.is_overtaken is None:
            self.is_overtaken = asyncio.Event()
            self.finish()
            await self.is_overtaken.wait()
            return PENDING
        self.is_overtaken.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "b"

    async def end(self) -> str:
        return "e"


def test_a_coroutine_that_ends_after_its_call_leaves_the_next_call_alone() -> None:
    """finish may come before the coroutine returns PENDING: each call still ends once, and the session too."""
    with open_wrapper(Overtaking) as engine, engine.session() as session:
        session.write({})
        assert values(session.write({})) == ["b"]
        assert values(session.end()) == ["e"]


def test_coroutines_of_calls_that_begin_at_once_share_one_event_loop() -> None:
    """Whichever of them starts it: one that nobody knows could neither be cancelled nor be waited for."""
    driver = Driver()
    loops: list[asyncio.AbstractEventLoop] = []
    barrier = threading.Barrier(8)

    async def note() -> None:
        loops.append(asyncio.get_running_loop())

    def call() -> None:
        barrier.wait(20)
        driver.call(note)

    threads = [threading.Thread(target=call) for _ in range(barrier.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    driver.fini()
    assert len(loops) == barrier.parties
    assert len(set(loops)) == 1


def test_session_runs_its_verbs_in_order() -> None:
    """create may emit; write, end and destroy come once each, in order, with the reason."""
    with open_wrapper(Recording) as engine, engine.session(hello=True) as session:
        assert values(session.take()) == ["hello"]
        assert values(session.write({}) + session.write({}) + session.end()) == ["w", "w", "e"]
    assert EVENTS == ["write 1", "write 2", "end", "destroy finished"]


def test_failed_create_raises_and_destroys_nothing() -> None:
    """A session that never opened is never destroyed."""
    with open_wrapper(Recording) as engine, pytest.raises(EngineFailure, match="not today"):
        engine.create(fail=True)
    assert EVENTS == []


def test_cancel_ends_a_coroutine_before_destroy() -> None:
    """A coroutine gets CancelledError, its `finally` completes, and destroy comes after."""
    with open_wrapper(Recording, timeout_s=2) as engine:
        session = engine.create(way="sleeper")
        with pytest.raises(TimeoutError):
            session.write({})
        session.cancel(CloseReason.CLIENT_GONE)
        session.destroy(CloseReason.CLIENT_GONE)
    assert EVENTS == ["write 1", "cancel client_gone", "coroutine ended", "destroy client_gone"]


def test_late_emit_and_finish_are_refused() -> None:
    """After destroy a session object raises ConnectionError and does no harm."""
    kept: list[Session] = []

    class Late(Wrapper):
        def create(self, params: Params) -> Session:
            kept.append(RecordingSession(EVENTS, "plain"))
            return kept[0]

    with open_wrapper(Late) as engine:
        with engine.session():
            pass
        assert kept[0].is_cancelled
        with pytest.raises(ConnectionError, match="over"):
            kept[0].emit("late")
        with pytest.raises(ConnectionError, match="over"):
            kept[0].finish()
    with pytest.raises(ConnectionError, match="the engine has been stopped"):
        kept[0].emit("later still")


class Breaking(Wrapper):
    """Sessions that end themselves: inside create, while no call runs, or while one is PENDING."""

    sessions: list[Session] = []

    def create(self, params: Params) -> Session:
        EVENTS.clear()
        if params.get("early"):
            params.emit("early")
            params.fail(Error(41, "no device"))
        self.sessions.append(RecordingSession(EVENTS, str(params.get("way", "plain"))))
        return self.sessions[-1]


def test_a_session_may_fail_while_no_call_runs() -> None:
    """What was emitted before arrives first; later emits and failures are refused; destroy comes once."""
    with open_wrapper(Breaking) as engine:
        session = engine.create()
        breaking = Breaking.sessions[-1]
        breaking.emit("before")
        worker = threading.Thread(target=breaking.fail, args=(Error(42, "lost"),))
        worker.start()
        worker.join()
        assert breaking.is_cancelled
        for late in (
            lambda: breaking.emit("late"),
            lambda: breaking.fail(Error(43, "again")),
            breaking.finish,
        ):
            with pytest.raises(ConnectionError, match="over"):
                late()
        assert values(session.take()) == ["before"]
        for call in (session.take, lambda: session.write({}), session.end):
            with pytest.raises(EngineFailure) as caught:
                call()
            assert caught.value.args == (42, "lost")
        session.destroy(CloseReason.ENGINE_ERROR)
        with pytest.raises(ConnectionError, match="over"):
            breaking.fail(Error(44, "late"))
    assert EVENTS == ["destroy engine_error"]


def test_a_failure_ends_a_pending_call() -> None:
    """The call is void, its caller hears the failure, and a finish is refused."""
    with open_wrapper(Breaking) as engine, pytest.raises(EngineFailure) as caught:
        session = engine.create(way="later")
        breaking = Breaking.sessions[-1]
        worker = threading.Thread(target=breaking.fail, args=(ValueError("odd"),))
        worker.start()
        session.write({})
    worker.join()
    assert caught.value.args == (-8, "ValueError: odd")
    with pytest.raises(ConnectionError):
        breaking.finish()


def test_a_failure_inside_create_holds_once_it_has_returned() -> None:
    """Emitting worked, the session is open, and its first call says why it is over."""
    with open_wrapper(Breaking) as engine, engine.session(early=True) as session:
        assert values(session.take()) == ["early"]
        with pytest.raises(EngineFailure) as caught:
            session.write({})
        assert caught.value.args == (41, "no device")


def test_only_a_session_fails_and_only_with_an_exception() -> None:
    """A one-shot call ends by its return, or by finish; what is no exception says nothing."""

    class Curious(Wrapper):
        def exec(self, request: Request) -> str:
            return str(hasattr(request, "fail"))

    with open_wrapper(Curious) as engine:
        assert values(engine.exec({})) == ["False"]
    with (
        open_wrapper(Breaking) as engine,
        engine.session(),
        pytest.raises(TypeError, match="fail takes an exception, not a str"),
    ):
        Breaking.sessions[-1].fail("lost")  # type: ignore[arg-type]


def test_session_object_is_unusable_before_create_returned() -> None:
    """emit in __init__ says what to do instead."""
    with pytest.raises(RuntimeError, match=r"use params\.emit"):
        RecordingSession([], "plain").emit("early")


def test_ten_threads_emit_into_one_call() -> None:
    """Emits from many threads all arrive, each whole."""

    class Threads(Wrapper):
        def exec(self, request: Request) -> None:
            def work(number: int) -> None:
                for count in range(20):
                    request.emit({"n": [number, count]})

            workers = [threading.Thread(target=work, args=(number,)) for number in range(10)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

    with open_wrapper(Threads) as engine:
        seen = [tuple(frame["n"]) for frame in engine.exec({})]
    assert sorted(seen) == [(number, count) for number in range(10) for count in range(20)]
    for number in range(10):
        assert [count for one, count in seen if one == number] == list(range(20))


def test_parameters_have_their_declared_defaults() -> None:
    """params is a mapping of parsed values, defaults filled in."""
    seen: list[Any] = []

    class Parameters(Wrapper):
        parameters = {"rate": Int(16000), "lang": Str("en"), "gain": Float(required=False)}

        def exec(self, request: Request) -> None:
            seen.append(request.parameters)

        def create(self, params: Params) -> Session:
            seen.append((params["lang"], params.get("gain"), "rate" in params, params.parameters))
            return RecordingSession([], "plain")

    with open_wrapper(Parameters) as engine:
        engine.exec({}, lang="zh")
        engine.create(rate=8000)
    assert seen[0] == {"rate": 16000, "lang": "zh"}
    assert seen[1] == ("en", None, True, {"rate": 8000, "lang": "en"})


def test_config_update_health_and_meter() -> None:
    """The optional powers reach the wrapper; the ones it lacks are refused."""
    calls: list[Any] = []

    class Powers(Wrapper):
        def init(self, config: Config) -> None:
            calls.append(
                ("init", dict(config), config.engine, threading.current_thread() is threading.main_thread())
            )

        async def warm_up(self) -> None:
            calls.append("warm_up")

        def update(self, config: Config) -> None:
            calls.append(("update", dict(config)))

        def health(self) -> bool:
            return False

        def create(self, params: Params) -> Session:
            return Metering()

        def fini(self) -> None:
            calls.append("fini")

    class Metering(Session):
        def write(self, frame: Frame) -> None:
            self.meter("characters", 5)

    with open_wrapper(Powers, {"a": 1}) as engine:
        engine.update({"a": 2})
        with pytest.raises(EngineFailure, match="cannot serve"):
            engine.health()
        with engine.session() as session:
            session.write({})
            assert session.usage == [("characters", 5.0)]
    assert calls == [("init", {"a": 1}, "testing", True), "warm_up", ("update", {"a": 2}), "fini"]


def test_missing_powers_are_unsupported() -> None:
    """No create: no sessions. No update: a changed config is refused."""

    class OnlyExec(Wrapper):
        def exec(self, request: Request) -> None:
            return None

    with open_wrapper(OnlyExec) as engine:
        for call in (engine.create, lambda: engine.update({})):
            with pytest.raises(EngineFailure) as failure:
                call()
            assert failure.value.args[0] == UNSUPPORTED


def test_create_that_returns_no_session_says_so() -> None:
    """The author reads what create has to return."""

    class Forgetful(Wrapper):
        def create(self, params: Params) -> None:
            return None

    with open_wrapper(Forgetful) as engine, pytest.raises(EngineFailure, match="create returned None"):
        engine.create()


def test_async_create_and_destroy_work() -> None:
    """Every verb may be a coroutine."""
    events: list[str] = []

    class Async(Wrapper):
        async def init(self, config: Config) -> None:
            events.append("init")

        async def create(self, params: Params) -> Session:
            await asyncio.sleep(0)
            return AsyncSession()

    class AsyncSession(Session):
        async def write(self, frame: Frame) -> AsyncIterator[str]:
            yield "a"
            yield "b"

        async def destroy(self, reason: CloseReason) -> None:
            events.append(f"destroy {reason}")

    with open_wrapper(Async, window=1) as engine, engine.session() as session:
        assert values(session.write({})) == ["a", "b"]
    assert events == ["init", "destroy finished"]

"""The one event loop of a Python host, in a thread of its own: runs what coroutines of a wrapper do.

Started by the first coroutine. Knows ports, not channels; who calls it holds no lock.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from loader.host.values import emit_async
from loader.wrapper import PENDING

if TYPE_CHECKING:
    from loader._host import Port


STOP_TIMEOUT_S = 1.0


class Outcome(NamedTuple):
    """How the coroutine of a call ended. Not finished: it returned PENDING, finish comes later."""

    is_finished: bool
    error: BaseException | None


class Run:
    """The coroutine of one call, from its submission to its end."""

    __slots__ = ("awaitable", "has_ended", "port", "task")

    def __init__(self, port: Port, awaitable: Any) -> None:
        self.port = port
        self.awaitable = awaitable
        self.has_ended = threading.Event()
        self.task: asyncio.Task[Outcome] | None = None

    def cancel(self) -> None:
        """On the loop's thread."""
        if self.task is not None:
            self.task.cancel()


class EventLoop:
    """Runs coroutines and async generators of calls; each call's end goes to its port."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self._on_start = on_start
        self._loop = asyncio.new_event_loop()
        self._waiting: deque[Run] = deque()
        self._is_woken = False
        self._lock = threading.Lock()
        # By session or call. A session has several where a call was finished before its coroutine returned PENDING.
        self._running: dict[int, list[Run]] = {}
        self._thread = threading.Thread(target=self._serve, name="loader-event-loop", daemon=True)
        self._thread.start()

    def submit(self, port: Port, awaitable: Any) -> None:
        """Runs `awaitable` for the call of `port`; several submits cost one wake-up."""
        run = Run(port, awaitable)
        with self._lock:
            self._running.setdefault(port.handle, []).append(run)
        self._waiting.append(run)
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._start_waiting)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """The result of `awaitable`; waits for it. Not from the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), self._loop).result()

    def cancel(self, handle: int) -> list[Run]:
        """Cancels what runs for that session or call, if something does."""
        with self._lock:
            runs = list(self._running.get(handle, ()))
        for run in runs:
            self._loop.call_soon_threadsafe(run.cancel)
        return runs

    def end(self, handle: int) -> None:
        """Cancels what runs for that session and waits until it has ended.

        A coroutine that ignores cancellation holds this up; the loader's destroy timeout is the limit.
        """
        for run in self.cancel(handle):
            run.has_ended.wait()

    def stop(self) -> None:
        """Ends the loop; a coroutine that ignores cancellation is dropped with the process."""
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _cancel_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=STOP_TIMEOUT_S / 2)
        self._loop.stop()

    def _serve(self) -> None:
        self._on_start()
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _start_waiting(self) -> None:
        self._is_woken = False
        while self._waiting:
            run = self._waiting.popleft()
            run.task = self._loop.create_task(_outcome(run.port, run.awaitable))
            # Not a `finally` inside the task: one that is cancelled before its first step runs none.
            run.task.add_done_callback(partial(self._end, run))

    def _end(self, run: Run, task: asyncio.Task[Outcome]) -> None:
        handle = run.port.handle
        with self._lock:
            self._running[handle].remove(run)
            if not self._running[handle]:
                del self._running[handle]
        outcome = Outcome(True, asyncio.CancelledError()) if task.cancelled() else task.result()
        if outcome.is_finished:
            _finish(run.port, outcome.error)
        run.has_ended.set()


async def _outcome(port: Port, awaitable: Any) -> Outcome:
    try:
        return Outcome(await _send(port, awaitable), None)
    except BaseException as raised:  # noqa: BLE001  user code: SystemExit must not end the loop
        return Outcome(True, raised)


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _send(port: Port, awaitable: Any) -> bool:
    """Sends every result. False: the coroutine returned PENDING and finish comes later."""
    if hasattr(awaitable, "__anext__"):
        await _send_all(port, awaitable)
        return True
    value = await awaitable
    if value is PENDING:
        return False
    if hasattr(value, "__anext__"):
        await _send_all(port, value)
    elif inspect.isgenerator(value):
        await _send_each(port, value)
    elif value is not None:
        await emit_async(port, value)
    return True


async def _send_all(port: Port, values: AsyncIterator[Any]) -> None:
    try:
        async for value in values:
            if value is not None:
                await emit_async(port, value)
    finally:
        close = getattr(values, "aclose", None)
        if close is not None:
            await close()


async def _send_each(port: Port, values: Generator[object, Any, object]) -> None:
    try:
        for value in values:
            if value is not None:
                await emit_async(port, value)
    finally:
        values.close()


def _finish(port: Port, error: BaseException | None) -> None:
    try:
        port.finish(error)
    except (ConnectionError, ValueError):
        # The session was closed while the coroutine ran: nobody waits for its end.
        return

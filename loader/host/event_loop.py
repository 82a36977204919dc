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


class EventLoop:
    """Runs coroutines and async generators of calls; each call's end goes to its port."""

    def __init__(self, on_start: Callable[[], None]) -> None:
        self._on_start = on_start
        self._loop = asyncio.new_event_loop()
        self._waiting: deque[tuple[Port, Any]] = deque()
        self._is_woken = False
        self._running: dict[int, threading.Event] = {}
        self._tasks: dict[int, asyncio.Task[Outcome]] = {}
        self._thread = threading.Thread(target=self._serve, name="loader-event-loop", daemon=True)
        self._thread.start()

    def submit(self, port: Port, awaitable: Any) -> None:
        """Runs `awaitable` for the call of `port`; several submits cost one wake-up."""
        self._running[port.handle] = threading.Event()
        self._waiting.append((port, awaitable))
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._start_waiting)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """The result of `awaitable`; waits for it. Not from the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), self._loop).result()

    def cancel(self, handle: int) -> None:
        """Cancels what runs for that session or call, if something does."""
        if handle in self._running:
            self._loop.call_soon_threadsafe(self._cancel, handle)

    def end(self, handle: int) -> None:
        """Cancels what runs for that session and waits until it has ended.

        A coroutine that ignores cancellation holds this up; the loader's destroy timeout is the limit.
        """
        running = self._running.get(handle)
        if running is not None:
            self.cancel(handle)
            running.wait()

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
            port, awaitable = self._waiting.popleft()
            task = self._loop.create_task(_outcome(port, awaitable))
            self._tasks[port.handle] = task
            # Not a `finally` inside the task: one that is cancelled before its first step runs none.
            task.add_done_callback(partial(self._end, port))

    def _cancel(self, handle: int) -> None:
        task = self._tasks.get(handle)
        if task is not None:
            task.cancel()

    def _end(self, port: Port, task: asyncio.Task[Outcome]) -> None:
        del self._tasks[port.handle]
        done = self._running.pop(port.handle)
        outcome = Outcome(True, asyncio.CancelledError()) if task.cancelled() else task.result()
        if outcome.is_finished:
            _finish(port, outcome.error)
        done.set()


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

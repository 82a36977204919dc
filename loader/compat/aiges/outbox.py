"""Results of callbacks on their way to the client, in order, and the error behind them.

They leave at once while the client keeps up; what it does not take yet waits here, so that no thread of the
wrapper, and with it no GIL, waits for a client. Refuses to know AIGES.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._host import Port
    from loader.wrapper import Error, Result

MOST_RESULTS = 100
MOST_BYTES = 32 * 1024 * 1024


class Entry(NamedTuple):
    """A result, or, without one, the end: of the call that returned PENDING, or by an error."""

    result: Result | None
    size_bytes: int = 0
    error: Error | None = None


class Outbox:
    """Of one session or call, which an error ends by `fail`. Everything from any thread."""

    def __init__(self, port: Port, fail: Callable[[BaseException], None]) -> None:
        self._port = port
        self._fail = fail
        self._changed = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._waiting_bytes = 0
        self._is_armed = False  # the host calls `_drain` when there is credit
        self._is_lent = False  # a thread emits the first one, and waits for credit meanwhile
        self._is_closed = False

    def post(self, result: Result, size_bytes: int) -> bool:
        """Never waits. False: nobody wants it any more. Raises: what a bad result raises."""
        return self._add(Entry(result, size_bytes))

    def finish(self, error: Error | None) -> None:
        """Ends the call, or by an error the session, after everything that was posted."""
        self._add(Entry(None, error=error))

    def give_up(self, error: Error) -> None:
        """Ends it by `error` at once: what waits is dropped."""
        with self._changed:
            self._break(error)
            self._clear()
            self._changed.notify_all()

    @property
    def is_empty(self) -> bool:
        """Everything has left."""
        with self._changed:
            return not self._waiting and not self._is_lent

    def holds_at_most(self, results: int, size_bytes: int) -> bool:
        """No more waits here, or nobody wants it any more."""
        with self._changed:
            is_little = len(self._waiting) <= results and self._waiting_bytes <= size_bytes
            return self._is_closed or is_little

    def wait_for_room(self, limit_s: float) -> bool:
        """Waits while more than may be left here has not been taken. False: the limit has passed."""
        with self._changed:
            return self._changed.wait_for(self._has_room, limit_s)

    def make_room(self) -> None:
        """The same for a thread that the host knows to wait for its client: without limit."""
        while (result := self._borrow()) is not None:
            try:
                self._port.emit(result)
            except ConnectionError:
                self.close()
            finally:
                with self._changed:
                    self._is_lent = False
                    self._changed.notify_all()
        self._arm()

    def close(self) -> None:
        """Drops what waits; whoever waits for room goes on."""
        with self._changed:
            self._is_closed = True
            self._clear()
            self._changed.notify_all()

    def _add(self, entry: Entry) -> bool:
        with self._changed:
            if self._is_closed:
                return False
            if not self._waiting and not self._is_lent and self._pass_on(entry):
                return not self._is_closed
            self._waiting.append(entry)
            self._waiting_bytes += entry.size_bytes
        self._arm()
        return True

    def _has_room(self) -> bool:
        is_little = len(self._waiting) <= MOST_RESULTS and self._waiting_bytes <= MOST_BYTES
        return self._is_closed or is_little

    def _borrow(self) -> Result | None:
        with self._changed:
            if self._has_room() or self._is_lent or self._waiting[0].result is None:
                return None
            self._is_lent = True
            return self._pop().result

    def _pop(self) -> Entry:
        first = self._waiting.popleft()
        self._waiting_bytes -= first.size_bytes
        return first

    def _clear(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0

    def _pass_on(self, entry: Entry) -> bool:
        """False: no credit now. A session that is over refuses both, and that is all there is to know."""
        try:
            if entry.result is not None:
                return self._port.try_emit(entry.result)
            if entry.error is not None:
                self._fail(entry.error)
            else:
                self._port.finish()
        except ConnectionError:
            self._is_closed = True
        except ValueError:
            if entry.result is not None:
                raise
        return True

    def _arm(self) -> None:
        with self._changed:
            if self._is_armed or self._is_lent or self._is_closed or not self._waiting:
                return
            self._is_armed = True
        self._port.on_credit(self._drain)  # may call it here and now

    def _drain(self) -> None:
        with self._changed:
            self._is_armed = False
            try:
                while self._waiting and not self._is_lent and self._pass_on(self._waiting[0]):
                    self._pop()
            except Exception as raised:  # noqa: BLE001  a result that cannot be sent, say too large
                self._break(raised)
            if self._is_closed:
                self._clear()
            self._changed.notify_all()
        self._arm()

    def _break(self, raised: Exception) -> None:
        self._is_closed = True
        with suppress(ConnectionError, ValueError):  # it is over
            self._fail(raised)

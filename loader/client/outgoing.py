"""The requests of one session on their way to gRPC: a bounded hand-over between two threads.

gRPC pulls the next request only when the last one has left, so a full hand-over means that the loader
takes no more. Knows no protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Outgoing(Generic[T]):
    """Written by the session's user, iterated by gRPC's own thread."""

    def __init__(self, first: T, capacity: int = 16) -> None:
        self._waiting = deque([first])
        self._capacity = capacity
        self._changed = Condition()
        self._is_ended = False
        self._is_closed = False

    @property
    def is_ended(self) -> bool:
        """Nothing more may be put."""
        return self._is_ended or self._is_closed

    def put(self, request: T, timeout_s: float | None) -> bool:
        """Waits for room. False: the session is over. Raises: TimeoutError."""
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._is_closed or len(self._waiting) < self._capacity, timeout_s
            )
            if not has_room:
                raise TimeoutError(
                    f"the loader took no frame for {timeout_s} s: the engine is slower than its input, "
                    "or its results are not being read"
                )
            if not self._is_closed:
                self._waiting.append(request)
                self._changed.notify_all()
            return not self._is_closed

    def end(self) -> None:
        """What waits is still sent, then the sending side closes."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """The session is over: drops what waits, wakes everyone."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_ended or self._is_closed)
            if not self._waiting:
                raise StopIteration
            request = self._waiting.popleft()
            self._changed.notify_all()
            return request

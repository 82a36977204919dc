"""What happens to engines, for those who watch it through AdminService.WatchEvents.

Knows calls by number; a watcher that went away is forgotten when the front says so.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from loader.v1 import admin_pb2

if TYPE_CHECKING:
    from loader._core import Server

MOST_WATCHERS = 100


class EventBoard:
    """The open WatchEvents calls."""

    def __init__(self, core: Server) -> None:
        self._core = core
        self._calls: list[int] = []

    def add(self, call: int) -> bool:
        """Takes a watcher; False when there are too many."""
        if len(self._calls) >= MOST_WATCHERS:
            return False
        self._calls.append(call)
        return True

    def remove(self, call: int) -> None:
        """Forgets a watcher that has gone."""
        if call in self._calls:
            self._calls.remove(call)

    def tell(self, kind: str, engine: str, message: str) -> None:
        """Sends one event to every watcher."""
        event = admin_pb2.WatchEventsResponse(kind=kind, engine=engine, message=message, time_s=time.time())
        payload = bytes(event.SerializeToString())
        for call in self._calls:
            self._core.answer_admin(call, payload, None)

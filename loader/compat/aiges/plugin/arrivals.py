"""Results on their way from the one stream of a command to the sessions and calls that they belong to.

By tag: a session's handle, or the sid or usrTag that the wrapper was given. Refuses to know gRPC.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from loader.compat.aiges.receivers import RECEIVERS, Receiver

logger = logging.getLogger("aiges")

MOST_EARLY: Final = 100
MOST_ENDED: Final = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A Response by the names that results of wrappers have."""

    list: Any
    error_code: int


class Arrivals:
    """Everything from any thread; `deliver` from one for the stream, so that results keep their order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._creating = 0
        self._early: list[tuple[str, Answer]] = []  # results of sessions whose create has not returned
        self._ended: deque[str] = deque(maxlen=MOST_ENDED)  # handles: what comes late for them is not early

    def deliver(self, tag: str, response: Any) -> None:
        """Gives a Response to whom it belongs; never waits for a client."""
        answer = Answer(response.list, response.ret)
        with self._lock:
            receiver = RECEIVERS.find(tag)
            if receiver is None:
                self._keep(tag, answer)
                return
        receiver.on_response(answer)

    @contextmanager
    def creating(self) -> Iterator[None]:
        """While a wrapperCreate runs, results of handles that are not known yet are kept."""
        with self._lock:
            self._creating += 1
        try:
            yield
        finally:
            with self._lock:
                self._creating -= 1
                if not self._creating:
                    self._early.clear()

    def claim(self, handle: str, receiver: Receiver) -> bool:
        """Results of that handle are `receiver`'s, also those that came before. False: they are another's."""
        with self._lock:
            if handle and not RECEIVERS.add(handle, receiver):
                return False
            mine = [answer for tag, answer in self._early if tag == handle]
            self._early = [one for one in self._early if one[0] != handle]
            for answer in mine:
                receiver.on_response(answer)
        return True

    def release(self, handle: str, receiver: Receiver) -> None:
        """From here on the handle may be another's."""
        with self._lock:
            RECEIVERS.remove(receiver, handle)
            self._ended.append(handle)

    def _keep(self, tag: str, answer: Answer) -> None:
        if self._creating and tag not in self._ended and len(self._early) < MOST_EARLY:
            self._early.append((tag, answer))
        else:
            logger.debug("a result for %r is late, or nobody's", tag)

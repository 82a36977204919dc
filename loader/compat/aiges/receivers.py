"""Who receives what a wrapper calls back, found by usrTag or sid; and the functions that wrappers call.

Callbacks come from any thread, and late ones too: they return -1 and never raise. Refuses to know sessions.
"""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

from loader.compat.aiges.convert import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "RECEIVERS",
    "Receiver",
    "Receivers",
    "callback",
    "callback_metric",
    "callback_trace",
    "init_rq",
    "report_failure",
]

logger = logging.getLogger("aiges")

REFUSED: Final = -1


class Receiver(Protocol):
    """One open session or call. Everything from any thread."""

    def on_response(self, response: object) -> int:
        """0: taken; -1: nobody wants it any more."""

    def on_failure(self, raised: BaseException) -> None:
        """A thread that worked for it has died."""

    def on_meter(self, key: str, count: float) -> None: ...
    def on_trace(self, key: str, value: str) -> None: ...


class Receivers:
    """Open sessions and calls by each name that a wrapper may know them by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, Receiver] = {}
        self._unclaimed: queue.Queue[object] | None = None

    def add(self, name: str, receiver: Receiver) -> bool:
        """False where another one has that name."""
        with self._lock:
            return self._by_name.setdefault(name, receiver) is receiver

    def remove(self, receiver: Receiver, *names: str) -> None:
        """Forgets these names of it; any others' stay."""
        with self._lock:
            for name in names:
                if self._by_name.get(name) is receiver:
                    del self._by_name[name]

    def find(self, *names: object) -> Receiver | None:
        """The first that has one of these names."""
        with self._lock:
            found = (self._by_name.get(name) for name in names if isinstance(name, str))
            return next((one for one in found if one is not None), None)

    def everyone(self) -> set[Receiver]:
        """Every open session and call."""
        with self._lock:
            return set(self._by_name.values())

    def is_any(self) -> bool:
        """A session or call is open."""
        with self._lock:
            return bool(self._by_name)

    def collect_unclaimed(self) -> queue.Queue[object]:
        """From now on, where responses go that no session or call claims: for runs without a host."""
        self._unclaimed = queue.Queue()
        return self._unclaimed

    def keep_unclaimed(self, response: object) -> int:
        """-1 where nobody collects them."""
        if self._unclaimed is None:
            return REFUSED
        self._unclaimed.put(response)
        return 0


# There is one, because wrappers call a function that they import and that knows no host.
RECEIVERS: Final = Receivers()


def callback(response: Any, *names: Any, **named: Any) -> int:
    """Gives a result to the session of that usrTag or sid. 0: taken; -1: it is over, or unknown."""
    try:
        receiver = RECEIVERS.find(*names, *named.values())
        return receiver.on_response(response) if receiver is not None else _unclaimed(response)
    except Exception:
        logger.exception("a callback failed")
        return REFUSED


def callback_metric(usrTag: Any = "", key: Any = "", count: Any = 0) -> int:
    """Adds to a usage counter of the session of that usrTag or sid."""
    return _tell(usrTag, lambda receiver: receiver.on_meter(str(key), float(count)))


def callback_trace(usrTag: Any = "", key: Any = "", value: Any = "") -> int:
    """Adds a key and value to the trace of the session of that usrTag or sid."""
    return _tell(usrTag, lambda receiver: receiver.on_trace(str(key), str(value)))


def report_failure(name: object, raised: BaseException) -> bool:
    """Ends the session or call of that usrTag or sid. False: there is none."""
    receiver = RECEIVERS.find(name)
    if receiver is not None:
        receiver.on_failure(raised)
    return receiver is not None


def init_rq() -> queue.Queue[object]:
    """The queue that gets the results of callbacks in a run without a host."""
    return RECEIVERS.collect_unclaimed()


def _unclaimed(response: Any) -> int:
    kept = RECEIVERS.keep_unclaimed(response)
    if kept == 0:
        for node in outcome_of(response).nodes:
            logger.info("callback: %s, %d bytes, status %s", node.key, len(node.data), node.status)
    return kept


def _tell(name: object, note: Callable[[Receiver], None]) -> int:
    try:
        receiver = RECEIVERS.find(name)
        if receiver is None:
            return REFUSED
        note(receiver)
    except Exception:
        logger.exception("a note of a wrapper failed")
        return REFUSED
    return 0

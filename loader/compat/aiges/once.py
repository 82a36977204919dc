"""One-shot calls: what wrapperOnceExec is passed, and the callback that ends wrapperOnceExecAsync."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from loader.compat.aiges import constants, convert
from loader.compat.aiges.binding import Role
from loader.compat.aiges.outbox import Outbox
from loader.wrapper import PENDING, Error

if TYPE_CHECKING:
    from loader._host import Port, Request
    from loader.compat.aiges.calls import Calls
    from loader.compat.aiges.opening import Opening


def exec_values(author: Calls, opening: Opening, request: Request) -> dict[Role, Any]:
    """What a one-shot call passes. Every dictionary and list is this call's own."""
    items = request.items
    data = convert.request_of(items, (convert.status_of(one, convert.WHOLE) for one in items))
    return {
        Role.PARAMS: opening.params,
        Role.DATA: convert.as_dictionaries(data) if author.takes_dictionaries else data,
        Role.TAG: opening.tag,
        Role.SID: opening.sid,
        Role.PERSONAL: opening.personal,
        Role.RESULTS: [],
        Role.IDS: list(opening.resources),
        Role.ID_COUNT: len(opening.resources),
    }


def exec_async(author: Calls, request: Request, opening: Opening) -> object:
    """Begins a one-shot call whose result comes by callback. Raises: Error."""
    call = AsyncCall(author, request, opening)
    opening.register(call)
    try:
        values = exec_values(author, opening, request)
        returned = author.call("wrapperOnceExecAsync", constants.EXEC_FAILED, values, request.log)
        code = convert.outcome_of(returned).code
    except BaseException:
        call.abandon()
        raise
    if not code:
        return PENDING
    call.abandon()
    raise author.refused(constants.EXEC_FAILED, code)


class Metered:
    """Meters and traces of a session or call."""

    def __init__(self, port: Port) -> None:
        self._host = port

    def on_meter(self, key: str, count: float) -> None:
        """Adds to a usage counter."""
        self._host.meter(key, count)

    def on_trace(self, key: str, value: str) -> None:
        """Adds to the trace."""
        self._host.trace(key, value)

    def on_failure(self, raised: BaseException) -> None:
        """Nothing: the caller of the wrapper's function hears what that says."""


class Meter(Metered):
    """A call whose result is returned. One that is called back meanwhile is kept: some wrappers do that."""

    def __init__(self, port: Port) -> None:
        super().__init__(port)
        self.called_back: convert.Outcome | None = None

    def on_response(self, response: object) -> int:
        """The first is taken."""
        if self.called_back is not None:
            return -1
        self.called_back = convert.outcome_of(response)
        return 0


class AsyncCall(Metered):
    """A call whose result comes by callback: the first one ends it, whatever its status."""

    def __init__(self, author: Calls, port: Port, opening: Opening) -> None:
        super().__init__(port)
        self._author = author
        self._opening = opening
        self._outbox = Outbox(port, port.finish)
        self._lock = threading.Lock()
        self._is_over = False

    def on_response(self, response: object) -> int:
        """Sends it and ends the call."""
        if not self._end():
            return -1
        self._outbox.finish(self._send(response))
        return 0

    def on_failure(self, raised: BaseException) -> None:
        """Ends the call with it."""
        if self._end():
            self._outbox.finish(self._author.failed(constants.CALLBACK_FAILED, raised, self._host.log))

    def abandon(self) -> None:
        """The wrapper refused the call: nothing it calls back counts."""
        self._end()

    def _end(self) -> bool:
        with self._lock:
            was_over, self._is_over = self._is_over, True
        if not was_over:
            self._opening.forget(self)
        return not was_over

    def _send(self, response: object) -> Error | None:
        try:
            outcome = convert.outcome_of(response)
            if outcome.code:
                return self._author.refused(constants.CALLBACK_FAILED, outcome.code)
            if not outcome.nodes:
                return self._author.refused(constants.CALLBACK_FAILED, -1, "the callback has no result")
            self._outbox.post(outcome.to_once(), outcome.size_bytes)
        except Exception as raised:  # noqa: BLE001  what a wrapper gave cannot be sent
            return self._author.failed(constants.CALLBACK_FAILED, raised, self._host.log)
        return None

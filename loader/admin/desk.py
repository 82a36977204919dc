"""Takes the data plane's events: administration is answered, log lines, meters and traces are logged.

The rest is the supervisor's. Refuses to know what any of it means for the loader as a whole.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from loader.errors import InternalError, InvalidArgumentError, LoaderError, QueueFullError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from loader._core import Server
    from loader.admin.events import EventBoard
    from loader.admin.service import AdminService

logger = logging.getLogger(__name__)

DEFAULT_LEVEL = logging.INFO


class Desk:
    """Where events arrive. Administration is refused until `open()`."""

    def __init__(
        self,
        core: Server,
        drained: Callable[[], None],
        of_instance: Callable[[Mapping[str, Any]], None],
        begin: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._core = core
        self._drained = drained
        self._of_instance = of_instance
        self._begin = begin
        self._admin: AdminService | None = None
        self._board: EventBoard | None = None

    def open(self, admin: AdminService, board: EventBoard) -> None:
        """Administration is answered from now on."""
        self._admin, self._board = admin, board

    def tell(self, kind: str, engine: str, message: str) -> None:
        """Tells whoever watches events."""
        if self._board is not None:
            self._board.tell(kind, engine, message)

    def take_events(self) -> None:
        """Everything that has happened since the last time."""
        for event in self._core.take_events():
            try:
                self._take(event)
            except Exception:  # the outermost loop: one event that is not understood must not hide the others
                logger.exception("event failed", extra={"kind": event.get("kind")})

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        if kind == "admin_call":
            self._answer(event)
        elif kind == "admin_cancelled":
            if self._board is not None:
                self._board.remove(event["call_id"])
        elif kind == "drained":
            self._drained()
        elif kind == "log":
            _log_engine(event)
        elif kind in ("meter", "trace"):
            _log_note(kind, event)
        else:
            self._of_instance(event)

    def _answer(self, event: Mapping[str, Any]) -> None:
        call, method = event["call_id"], str(event["method"])
        try:
            if self._admin is None or self._board is None:
                raise InternalError("the loader is still starting: ask again")
            if event.get("stream"):
                if not self._board.add(call):
                    raise QueueFullError("too many watch events here: end one of the others first")
                return
            answer = self._admin.answer(method, event["request"], float(event["left_s"]))
        except Exception as error:  # noqa: BLE001  the outermost border: a defect must not take the loader down
            self._refuse(call, method, error)
            return
        if isinstance(answer, bytes):
            self._core.answer_admin(call, answer, None)
        else:
            self._begin(self._answer_later(call, method, answer))

    async def _answer_later(self, call: int, method: str, answer: Awaitable[bytes]) -> None:
        try:
            payload = await answer
        except Exception as error:  # noqa: BLE001  as above
            self._refuse(call, method, error)
        else:
            self._core.answer_admin(call, payload, None)

    def _refuse(self, call: int, method: str, error: Exception) -> None:
        from google.protobuf.message import DecodeError  # the start does not wait for it

        told = error
        if isinstance(told, DecodeError):
            told = InvalidArgumentError(f"{method}: the request is not one: {error}")
        if not isinstance(told, LoaderError):
            logger.error("admin call failed", extra={"method": method}, exc_info=error)
            told = InternalError(f"{method}: {error!r}: please report this")
        self._core.answer_admin(call, None, (told.code, told.message, told.engine_code, told.engine_message))


def _log_note(kind: str, event: Mapping[str, Any]) -> None:
    """What a wrapper metered or traced of a session."""
    fields = {key: value for key, value in event.items() if key != "kind"}
    logging.getLogger(f"loader.engine.{kind}").info(kind, extra=fields)


def _log_engine(event: Mapping[str, Any]) -> None:
    """A line that a wrapper logged."""
    fields = {key: value for key, value in event.items() if key not in ("kind", "level", "text", "message")}
    text = str(event.get("text", event.get("message", "")))
    level = int(event.get("level", DEFAULT_LEVEL))  # loader_log levels are those of logging
    logging.getLogger("loader.engine.log").log(level, "engine log", extra={**fields, "line": text})

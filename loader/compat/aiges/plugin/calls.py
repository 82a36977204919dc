"""The functions of a wrapper behind a connection, as AigesSession and one-shot calls use them.

Every failure becomes an error of AIGES's, with the reason why the command was lost where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc

from loader.compat.aiges import constants
from loader.compat.aiges.author import error_of
from loader.compat.aiges.binding import Role
from loader.compat.aiges.plugin.arrivals import Arrivals
from loader.compat.aiges.plugin.link import Link, text_of
from loader.wrapper import Error

NO_CODE: Final = -1
LOST_S: Final = 1.0  # from a broken call to why
LOG_WARNING: Final = 30
# What `aiges.serve` answers where its wrapper failed; the protocol has no wrapperError.
MEANINGS: Final = {
    30001: "wrapperInit raised an exception: see the engine's output",
    30002: "wrapperInit returned an error",
    30003: "wrapperOnceExec raised an exception or returned no result: see the engine's output",
}
OPERATIONS: Final = {
    constants.INIT_FAILED: "wrapperInit",
    constants.CREATE_FAILED: "wrapperCreate",
    constants.WRITE_FAILED: "wrapperWrite",
    constants.EXEC_FAILED: "wrapperOnceExec",
    constants.CALLBACK_FAILED: "the result",
}


class Loss:
    """Why the command serves no more, once it does not. From any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reason = ""

    @property
    def reason(self) -> str:
        """Empty while it serves."""
        return self._reason

    def tell(self, reason: str) -> bool:
        """Only the first reason counts; False for others."""
        with self._changed:
            is_first = not self._reason
            self._reason = self._reason or reason
            self._changed.notify_all()
        return is_first

    def wait(self, limit_s: float) -> str:
        """The reason, where there is one in that time."""
        with self._changed:
            self._changed.wait_for(lambda: self._reason, limit_s)
            return self._reason


class CommandCalls:
    """One command's functions."""

    takes_dictionaries = False

    def __init__(self, link: Link, arrivals: Arrivals, loss: Loss) -> None:
        self._link = link
        self._arrivals = arrivals
        self._loss = loss
        self._functions: dict[str, Callable[[Mapping[Role, Any]], Any]] = {
            "wrapperInit": lambda values: link.init(values[Role.CONFIG]),
            "wrapperOnceExecAsync": self._exec,
            "wrapperCreate": lambda values: link.create(
                values[Role.PARAMS], values[Role.SID], values[Role.TAG]
            ),
            "wrapperWrite": lambda values: link.write(
                values[Role.HANDLE], values[Role.DATA], values[Role.SID]
            ),
            "wrapperDestroy": lambda values: link.destroy(values[Role.HANDLE]),
        }

    def call(
        self, name: str, failed: int, values: Mapping[Role, Any], log: Callable[[str, int], None]
    ) -> Any:
        """What the RPC answers. Raises: Error."""
        try:
            return self._functions[name](values)
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel is closed
            raise self.failed(failed, error, log) from None

    def failed(self, failed: int, raised: BaseException, log: Callable[[str, int], None]) -> Error:
        """Why the command was lost, else what gRPC, or we, say."""
        text = text_of(raised) if isinstance(raised, grpc.RpcError) else f"{type(raised).__name__}: {raised}"
        is_broken = not isinstance(raised, grpc.RpcError) or raised.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        )
        text = (self._loss.wait(LOST_S) if is_broken else self._loss.reason) or text
        log(f"{OPERATIONS.get(failed, 'a call')} failed: {text}", LOG_WARNING)
        return error_of(failed, text, NO_CODE)

    def refused(self, failed: int, code: int, otherwise: str = "") -> Error:
        """What the code means; the protocol has no text with it."""
        said = f"{OPERATIONS.get(failed, 'the command')} says that it failed"
        return error_of(failed, self._loss.reason or otherwise or MEANINGS.get(code, said), code)

    def _exec(self, values: Mapping[Role, Any]) -> int:
        """The code of a call whose result comes on the stream; one that came here is as good."""
        response = self._link.exec_once(values[Role.TAG], values[Role.PARAMS], values[Role.DATA])
        if not response.ret and response.list:
            self._arrivals.deliver(values[Role.TAG], response)
        return int(response.ret)

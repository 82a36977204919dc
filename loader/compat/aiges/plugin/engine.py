"""A command that speaks AIGES's plug-in protocol as an engine: from its start to its end.

When it is lost (it ended, or its stream did), every open session and call gets one error, and the host ends: the
supervisor starts both again.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from loader.compat.aiges import constants, convert
from loader.compat.aiges.author import error_of
from loader.compat.aiges.binding import Role
from loader.compat.aiges.once import exec_async
from loader.compat.aiges.opening import Opening
from loader.compat.aiges.plugin.arrivals import Answer, Arrivals
from loader.compat.aiges.plugin.calls import NO_CODE, CommandCalls, Loss
from loader.compat.aiges.plugin.child import Child
from loader.compat.aiges.plugin.describing import description_of
from loader.compat.aiges.plugin.handshake import Address, CommandError
from loader.compat.aiges.plugin.link import Link
from loader.compat.aiges.plugin.peers import is_own_listening, stranger_at
from loader.compat.aiges.plugin.session import CommandSession
from loader.compat.aiges.receivers import RECEIVERS
from loader.compat.aiges.settings import BadSettingError, Settings, read_config
from loader.wrapper import Config, Error, Session, Wrapper

if TYPE_CHECKING:
    from loader._host import Params, Request

logger = logging.getLogger("aiges")

COMMAND: Final = "loader.command"  # of the config: what the loader says, not the author
SAID_WHY: Final = 4  # exit code of a host whose last line says why: the supervisor tells it
START_SHARE: Final = 0.8  # of init_timeout_s, so that we and not the supervisor say what is wrong
TRIES: Final = 60  # of a connection that reaches the command and not another one at its port
PAUSE_S: Final = 0.01
CONNECT_S: Final = 20.0  # from the handshake line, which comes when it listens, to the first answer
SCHEMA_S: Final = 10.0
HEALTH_S: Final = 5.0
ENDING_S: Final = 1.0
LAST_WORDS_S: Final = 0.1  # for errors on their way when the host ends


class CommandEngine(Wrapper):
    """The command of `config`."""

    said: ClassVar[dict[str, Any]] = description_of("")

    def __init__(self) -> None:
        self._settings = Settings()
        self._numbers = itertools.count(1)
        self._loss = Loss()
        self._arrivals = Arrivals()
        self._lock = threading.Lock()
        self._is_serving = False
        self._child: Child | None = None
        self._link: Link | None = None
        self._calls: CommandCalls | None = None

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """With what the command declares, once it runs."""
        return super().describe() | {"aiges": cls.said}

    # ---- start

    def init(self, config: Config) -> None:
        """Starts the command and runs its wrapperInit. Raises: Error, BadSettingError."""
        command = config.pop(COMMAND)
        self._settings, texts = read_config(config)
        if self._settings.async_mode is False:
            raise BadSettingError(
                "config.aiges.async_mode is false: results of a command always come by callback"
            )
        try:
            self._start(command["words"], command["init_timeout_s"])
            self._open(texts)
        except CommandError as error:
            self._stop()
            raise error_of(constants.INIT_FAILED, f"the command does not serve: {error}", NO_CODE) from None
        except BaseException:
            self._stop()
            raise

    def _start(self, words: list[str], limit_s: float) -> None:
        """To the first answer of its health check. Raises: CommandError."""
        end_s = time.monotonic() + START_SHARE * limit_s
        self._child = Child(words, self._command_ended)
        self._child.start()
        address = self._child.address(end_s - time.monotonic())
        self._connect(address, min(end_s, time.monotonic() + CONNECT_S))

    def _connect(self, address: Address, end_s: float) -> None:
        """Again, as long as others that share its port answer: the kernel deals them out. Raises: CommandError."""
        stranger = ""
        for _ in range(TRIES):
            self._link = Link(address)
            if self._loss.reason:
                raise CommandError(self._loss.reason)
            try:
                self._link.check(max(0.1, end_s - time.monotonic()), is_first=True)
            except CommandError as error:
                raise CommandError(self._ending() or f"at {address} {error}") from None
            stranger = stranger_at(address.port) if address.port else ""
            if not stranger:
                return
            self._link.close()
            if time.monotonic() > end_s or not is_own_listening(address.port):
                break
            time.sleep(PAUSE_S)
        raise CommandError(f"at {address} {stranger} answers in its place: end that, or change one's port")

    def _open(self, texts: Mapping[str, str]) -> None:
        """wrapperInit, wrapperSchema, the stream of results. Raises: Error, CommandError."""
        assert self._link is not None
        assert self._child is not None
        self._link.follow_output(self._child.pass_on)
        self._calls = CommandCalls(self._link, self._arrivals, self._loss)
        code = self._calls.call("wrapperInit", constants.INIT_FAILED, {Role.CONFIG: texts}, _log)
        if code:
            raise self._calls.refused(constants.INIT_FAILED, code)
        type(self).said = description_of(self._link.schema(SCHEMA_S))
        self._link.follow(lambda response: self._arrivals.deliver(response.tag, response), self._lose)
        try:
            self._link.check(HEALTH_S)
        except CommandError as error:
            raise CommandError(
                self._loss.reason
                or f"it does not answer while the stream of its results is open: {error}: it needs a second thread, "
                "which `aiges.serve` has neither with -c nor on a machine with one processor"
            ) from None
        with self._lock:
            self._is_serving = not self._loss.reason
        if self._loss.reason:
            raise CommandError(self._loss.reason)

    # ---- calls and sessions

    def exec(self, request: Request) -> object:
        """One wrapperOnceExec, whose result comes on the stream."""
        return exec_async(self._served(), request, self._opening(request))

    def create(self, params: Params) -> Session:
        """A session of wrapperCreate. Raises: Error."""
        session = CommandSession(self._served(), params, self._opening(params), self._arrivals)
        session.is_held_back = not self._settings.real_time_result
        session.open()
        return session

    def health(self) -> None:
        """Asks the command while nothing runs there: `aiges.serve` answers no more than it has processors.

        Raises: Error.
        """
        if self._loss.reason or RECEIVERS.is_any():
            return
        assert self._link is not None
        try:
            self._link.check(HEALTH_S)
        except CommandError as error:
            raise Error(constants.CALLBACK_FAILED, f"the command: {self._loss.reason or error}") from None

    def fini(self) -> None:
        """Ends the command."""
        self._stop()

    def _served(self) -> CommandCalls:
        assert self._calls is not None
        return self._calls

    def _opening(self, port: Params | Request) -> Opening:
        params = convert.texts_of(port.parameters)
        sid = params.setdefault("sid", "")
        tag = f"{port.session_id or 'call'}-{next(self._numbers)}"
        return Opening(tag, sid or tag, params)

    # ---- the end

    def _stop(self) -> None:
        with self._lock:
            self._is_serving = False
        if self._link is not None:
            self._link.shut_down()
        if self._child is not None:
            self._child.stop()

    def _ending(self) -> str:
        """How the command ended, where it has, or does so now."""
        ending = self._child.ending(ENDING_S) if self._child is not None else ""
        return f"it ended: {ending}" if ending else ""

    def _command_ended(self) -> None:
        self._lose("")

    def _lose(self, reason: str) -> None:
        """The command is of no use any more. On a thread of the child or the link."""
        with self._lock:
            is_serving = self._is_serving
            if not self._loss.tell(self._ending() or reason) or not is_serving:
                if self._link is not None:
                    self._link.close()
                return
        assert self._link is not None
        self._link.close()
        for receiver in RECEIVERS.everyone():
            receiver.on_response(Answer([], NO_CODE))
        time.sleep(LAST_WORDS_S)
        print(f"the command serves no more: {self._loss.reason}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(SAID_WHY)


def _log(text: str, level: int) -> None:
    logger.log(level, text)

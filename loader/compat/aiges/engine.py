"""An AIGES wrapper as an engine of the Python host: init, one-shot calls, personal resources, description.

Sessions are in session.py. Every call gets fresh dictionaries and a tag of its own; results that are called
back find their way by that tag, or by the sid.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final

from loader.compat.aiges import constants, convert
from loader.compat.aiges.author import Author, error_of, find_author
from loader.compat.aiges.binding import Role
from loader.compat.aiges.describing import description_of
from loader.compat.aiges.dto import DataListCls
from loader.compat.aiges.once import Meter, exec_async, exec_values
from loader.compat.aiges.opening import Opening, Resources
from loader.compat.aiges.session import AigesSession
from loader.compat.aiges.settings import Settings, read_config
from loader.wrapper import Config, Session, Wrapper

if TYPE_CHECKING:
    from loader._host import Params, Request

logger = logging.getLogger("aiges")

RESOURCES: Final = "resource_ids"


class AigesEngine(Wrapper):
    """What every AIGES wrapper has in common; `engine_of` adds what it can do."""

    author: ClassVar[Author]

    def __init__(self) -> None:
        self._settings = Settings()
        self._resources = Resources()
        self._numbers = itertools.count(1)
        self._reads_by_default = False

    def init(self, config: Config) -> None:
        """Makes the author's object and runs its wrapperInit. Raises: Error."""
        self._settings, texts = read_config(config)
        try:
            self.author.start()
        except BaseException as raised:  # noqa: BLE001  user code
            raise self.author.failed(constants.INIT_FAILED, raised, _log) from None
        returned = self.author.call("wrapperInit", constants.INIT_FAILED, {Role.CONFIG: texts}, _log)
        code = convert.outcome_of(returned).code
        if code:
            raise self.author.refused(constants.INIT_FAILED, code, "wrapperInit failed")
        self._reads_by_default = reads_by_default(self.author)

    def fini(self) -> None:
        """Runs its wrapperFini. Raises: Error for what that raises, which is logged."""
        self.author.call("wrapperFini", constants.INIT_FAILED, {}, _log)

    def exec_once(self, request: Request) -> object:
        """One call of wrapperOnceExec, or of wrapperOnceExecAsync."""
        opening = self._opening(request)
        if self.execs_async:
            return exec_async(self.author, request, opening)
        meter = Meter(request)
        opening.register(meter)
        try:
            values = exec_values(self.author, opening, request)
            returned = self.author.call("wrapperOnceExec", constants.EXEC_FAILED, values, request.log)
            return self._result_of(returned, values[Role.RESULTS], meter)
        finally:
            opening.forget(meter)

    @property
    def execs_async(self) -> bool:
        """One-shot results come by callback."""
        if not self.author.has("wrapperOnceExec"):
            return True
        wants = self._settings.async_mode
        if wants is None:
            wants = not self.author.does("wrapperOnceExec")
        return wants and self.author.does("wrapperOnceExecAsync")

    @property
    def streams_async(self) -> bool:
        """Results of sessions come by callback; wrapperRead is not called."""
        if self._settings.async_mode is not None and self.author.has("wrapperRead"):
            return self._settings.async_mode
        return not self._reads_by_default

    def open_session(self, params: Params) -> Session:
        """A session of wrapperCreate. Raises: Error."""
        opening = self._opening(params)
        session = AigesSession(self.author, params, opening, is_async=self.streams_async)
        session.is_held_back = not self._settings.real_time_result
        session.open()
        return session

    # ---- personal resources: for whoever administrates the engine

    def take_resource(self, number: int, key: str, data: bytes, desc: Mapping[str, str]) -> None:
        """Gives the wrapper a resource; `desc` may name it in `patch_id`. Raises: Error."""
        name = self._resources.name_of(number, desc)
        request = DataListCls()
        request.list = [convert.make_input(key, data, constants.DataPer, constants.DataEnd, dict(desc))]
        values = {Role.DATA: request, Role.PERSONAL: name}
        returned = self.author.call("wrapperLoadRes", constants.LOAD_RES_FAILED, values, _log)
        code = convert.outcome_of(returned).code
        if code:
            raise self.author.refused(constants.LOAD_RES_FAILED, code)
        self._resources.add(number, name)

    def drop_resource(self, number: int) -> None:
        """Takes it away. Raises: Error, Rejected for one that is not loaded."""
        values = {Role.PERSONAL: self._resources.remove(number)}
        returned = self.author.call("wrapperUnloadRes", constants.UNLOAD_RES_FAILED, values, _log)
        code = convert.outcome_of(returned).code
        if code:
            raise self.author.refused(constants.UNLOAD_RES_FAILED, code)

    # ---- the rest is its own

    def _opening(self, port: Params | Request) -> Opening:
        given = dict(port.parameters)
        resources = self._resources.find(given.pop(RESOURCES, None))
        params = convert.texts_of(given)
        sid = params.setdefault("sid", "")
        tag = f"{port.session_id or 'call'}-{next(self._numbers)}"
        return Opening(tag, sid or tag, params, resources)

    def _result_of(self, returned: object, results: list[Any], meter: Meter) -> object:
        try:
            outcome = convert.outcome_of(returned, results)
        except (TypeError, ValueError) as wrong:
            raise error_of(constants.EXEC_FAILED, str(wrong), -1) from None
        if not outcome.nodes and not outcome.code and meter.called_back is not None:
            outcome = meter.called_back
        if outcome.code:
            raise self.author.refused(constants.EXEC_FAILED, outcome.code)
        if not outcome.nodes:
            said = f"wrapperOnceExec returned {type(returned).__name__} without a result"
            _log(said, logging.WARNING)  # wrapperError may have a text of its own
            raise self.author.refused(constants.EXEC_FAILED, -1, said)
        return outcome.to_once()


def engine_of(module: ModuleType) -> type[Wrapper] | None:
    """The engine made of the AIGES wrapper in `module`; None where there is none.

    Raises: CannotBindError where a function asks for what AIGES does not pass.
    """
    author = find_author(module)
    if author is None:
        return None
    parts: dict[str, Any] = {"author": author, "__module__": module.__name__, "__doc__": None}
    if author.has("wrapperOnceExec") or author.has("wrapperOnceExecAsync"):
        parts["exec"] = AigesEngine.exec_once
    if author.has("wrapperCreate"):
        parts["create"] = AigesEngine.open_session
    if author.does("wrapperLoadRes"):
        parts |= {"load_resource": AigesEngine.take_resource, "unload_resource": AigesEngine.drop_resource}
    said = description_of(author, reads_by_default(author))
    parts["describe"] = classmethod(lambda cls: Wrapper.describe.__func__(cls) | {"aiges": said})  # type: ignore[attr-defined]
    return type("Wrapper", (AigesEngine,), parts)


def reads_by_default(author: Author) -> bool:
    """Without `async_mode`, wrapperRead is asked for the results of sessions.

    Where functions of the file name `callback`, AIGES ran it with callbacks, as it runs every class by
    default; module functions had no callback yet.
    """
    return author.does("wrapperRead") and (author.class_ is None or not author.uses_callback())


def _log(text: str, level: int) -> None:
    logger.log(level, text)

"""The cold half of a Python engine: load, init, update, health, coroutines, failures.

Driven by the compiled PythonEngine, which keeps the hot calls to itself. Refuses to know channels,
records and credit.
"""

from __future__ import annotations

import inspect
import json
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.host.load import BadWrapper, has, load_wrapper
from loader.wrapper import Config, Error, Rejected, Session, Wrapper

if TYPE_CHECKING:
    from loader._host import Params, Port
    from loader.host.event_loop import EventLoop

# Numbers of wrapper.h.
INVALID_INPUT = -7
INTERNAL = -8
CLOSED = -3
LOG_ERROR = 40
# Bits of ReadyFlag.
HAS_EXEC, HAS_SESSIONS, HAS_CANCEL, HAS_WARM_UP, HAS_UPDATE, HAS_HEALTH = (1 << bit for bit in range(6))
IS_NON_BLOCKING, IS_DETERMINISTIC, HAS_FIXED_SLOTS, HAS_RESOURCES = (1 << bit for bit in range(6, 10))

MESSAGE_LIMIT = 2000  # characters of an exception's text that its caller gets

ConfigValues = tuple[str, str, str, str, int, int]
Log = Callable[[int, str], None]


class LoaderHandler(logging.Handler):
    """Sends what the wrapper logs to the loader, under the engine's name."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        try:
            self._log(record.levelno, self.format(record))
        except Exception:  # noqa: BLE001  a bad format string is the author's: logging prints it
            self.handleError(record)


class Driver:
    """One wrapper of one host. Methods are called by the compiled engine, under the GIL."""

    def __init__(self, *, sends_logging: bool = False) -> None:
        self._sends_logging = sends_logging
        self._class: type[Wrapper] | None = None
        self._wrapper: Wrapper | None = None
        self._declared: dict[str, Any] = {}
        self._log: Log | None = None
        self._loop: EventLoop | None = None
        self._starting = threading.Lock()
        self._on_loop_start: Callable[[], None] = lambda: None

    def load(self, directory: str, entry: str) -> None:
        """Imports the wrapper's file. Raises: BadWrapper, or what the file raises."""
        self.accept(load_wrapper(Path(directory), entry))

    def accept(self, found: type[Wrapper]) -> None:
        """Takes the class whose instance will serve."""
        self._class = found
        self._declared = found.describe()
        powers = {"has_exec": has(found, "exec"), "has_sessions": has(found, "create")}
        self._declared["properties"] |= powers
        json.dumps(self._declared)  # refuse here what identity could not send

    def identity(self) -> tuple[int, str, str, str]:
        """Powers, name, version and the declarations as JSON."""
        found = self._class
        assert found is not None
        version = getattr(sys.modules[found.__module__], "__version__", "")
        return self._powers(found), found.__name__, str(version), json.dumps(self._declared)

    def init(
        self, values: ConfigValues, log: Log, on_loop_start: Callable[[], None]
    ) -> tuple[Any, Any, str, dict[str, str], dict[str, Any]]:
        """Makes the wrapper and runs its init.

        Returns exec and create (None where not defined), the key of plain results, the declared type
        of each output, and the declared defaults of parameters.
        """
        assert self._class is not None
        self._log, self._on_loop_start = log, on_loop_start
        if self._sends_logging:
            logging.basicConfig(level=logging.INFO, handlers=[LoaderHandler(log)])
        self._wrapper = self._class()
        self._run_optional("init", read_config(values))
        self.accept(self._class)  # a wrapper that runs elsewhere knows now what it declares
        outputs = {entry["key"]: entry["type"] for entry in self._declared["outputs"]}
        parameters = self._declared["parameters"]
        return (
            getattr(self._wrapper, "exec", None),
            getattr(self._wrapper, "create", None),
            next(iter(outputs)) if len(outputs) == 1 else "result",
            outputs,
            {entry["name"]: entry["default"] for entry in parameters if "default" in entry},
        )

    def warm_up(self) -> None:
        """Runs the wrapper's warm_up, if it has one."""
        self._run_optional("warm_up")

    def update(self, values: ConfigValues) -> bool:
        """Gives the wrapper a changed config; False: it takes none."""
        if not callable(getattr(self._wrapper, "update", None)):
            return False
        self._run_optional("update", read_config(values))
        return True

    def health(self) -> None:
        """Raises when the wrapper says that it cannot serve."""
        if self._run_optional("health") is False:
            raise RuntimeError("health() returned False: the engine says that it cannot serve")

    def load_resource(self, number: int, key: str, data: bytes, attributes: dict[str, str]) -> None:
        """Gives the wrapper a personal resource."""
        self._run_optional("load_resource", number, key, data, attributes)

    def unload_resource(self, number: int) -> None:
        """Takes it away again; no session and no call uses it any more."""
        self._run_optional("unload_resource", number)

    def fini(self) -> None:
        """Runs the wrapper's fini, then ends the event loop."""
        try:
            self._run_optional("fini")
        finally:
            if self._loop is not None:
                self._loop.stop()

    def create(self, create: Callable[[Any], Any], params: Params) -> tuple[Any, Any, Any, Any, Any]:
        """Opens a session: the object, its write, and its end, cancel and destroy or None."""
        session = self._resolve(create(params))
        write = getattr(session, "write", None)
        if not callable(write):
            kind = "None" if session is None else f"a {type(session).__name__} without write"
            raise TypeError(f"create returned {kind}: it has to return the session object")
        if isinstance(session, Session):
            session._port = params
        optional = (getattr(session, name, None) for name in ("end", "cancel", "destroy"))
        return session, write, *optional

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Runs a function of a session whose result nobody waits for, or the coroutine it returns."""
        self._resolve(function(*arguments))

    def submit(self, port: Port, awaitable: Any) -> None:
        """Runs a coroutine or async generator of a call; its end goes to the port."""
        self._event_loop().submit(port, awaitable)

    def cancel_task(self, handle: int) -> None:
        """Cancels what a session or call runs on the event loop."""
        if self._loop is not None:
            self._loop.cancel(handle)

    def end_task(self, handle: int) -> None:
        """The same, and waits until it has ended."""
        if self._loop is not None:
            self._loop.end(handle)

    def failure(self, error: BaseException, handle: int) -> tuple[int, str]:
        """The status and text that the caller gets; the log gets the traceback."""
        if isinstance(error, Rejected):
            return INVALID_INPUT, _text(error)
        if isinstance(error, Error):
            return error.code, _text(error)
        if isinstance(error, BadWrapper):
            return INTERNAL, _text(error)
        if _is_cancellation(error):
            return CLOSED, "cancelled"
        self._log_traceback(error, handle)
        text = _text(error)
        return INTERNAL, f"{type(error).__name__}: {text}" if text else type(error).__name__

    def _powers(self, found: type[Wrapper]) -> int:
        said = found.properties
        powers = {
            HAS_EXEC: has(found, "exec"),
            HAS_SESSIONS: has(found, "create"),
            HAS_CANCEL: True,  # of coroutines
            HAS_WARM_UP: has(found, "warm_up"),
            HAS_UPDATE: has(found, "update"),
            HAS_HEALTH: has(found, "health"),
            IS_NON_BLOCKING: said.non_blocking,
            IS_DETERMINISTIC: said.deterministic,
            HAS_FIXED_SLOTS: said.slots_fixed,
            HAS_RESOURCES: has(found, "load_resource"),
        }
        return sum(bit for bit, is_set in powers.items() if is_set)

    def _run_optional(self, name: str, *arguments: Any) -> Any:
        function = getattr(self._wrapper, name, None)
        return self._resolve(function(*arguments)) if callable(function) else None

    def _resolve(self, value: Any) -> Any:
        return self._event_loop().run(value) if inspect.isawaitable(value) else value

    def _event_loop(self) -> EventLoop:
        with self._starting:
            if self._loop is None:
                from loader.host.event_loop import EventLoop  # asyncio costs 40 ms: only who uses it pays

                self._loop = EventLoop(self._on_loop_start)
            return self._loop

    def _log_traceback(self, error: BaseException, handle: int) -> None:
        lines = traceback.format_exception(error)
        text = f"the wrapper raised (call {handle})\n" + "".join(lines)
        if self._log is not None:
            self._log(LOG_ERROR, text)
        else:
            print(text, file=sys.stderr, flush=True)  # noqa: T201  before init: the captured output


def read_config(values: ConfigValues) -> Config:
    """The Config that init and update receive."""
    engine, version, directory, text, slots, threads = values
    config = Config(json.loads(text) if text else {})
    config.engine, config.version, config.directory = engine, version, directory
    config.slots, config.threads = slots, threads
    return config


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  user code: its __str__ may fail
        return "(its text could not be made)"
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 3] + "..."


def _is_cancellation(error: BaseException) -> bool:
    """Ours: a task we cancelled, or an emit after the session was over."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return True
    return isinstance(error, ConnectionError) and str(error).startswith("the session or call is over")

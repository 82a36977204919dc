"""What an engine author imports: Wrapper, Session and the few values they exchange with the host.

Responsible for the Python ABI (design 4.2) as types and defaults. Refuses to know how calls arrive:
no threads, no channel, no server package; the compiled host (loader._host) fills in `_port`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from loader.declare import Data, Parameter, Properties, declaration

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "PENDING",
    "CloseReason",
    "Config",
    "Error",
    "Frame",
    "Item",
    "ItemView",
    "Params",
    "Port",
    "Rejected",
    "Request",
    "Result",
    "Session",
    "Wrapper",
]


class Pending:
    """The type of PENDING; there is one of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "loader.PENDING"


PENDING: Final = Pending()
"""Returned by exec, write or end: emit and finish follow, from any thread."""


class CloseReason(StrEnum):
    """Why a session ended, as `destroy` and `cancel` receive it. Order: the numbers of wrapper.h."""

    UNSPECIFIED = "unspecified"
    FINISHED = "finished"
    CLIENT_CANCEL = "client_cancel"
    CLIENT_GONE = "client_gone"
    DEADLINE = "deadline"
    IDLE_TIMEOUT = "idle_timeout"
    ENGINE_ERROR = "engine_error"
    CALL_HUNG = "call_hung"
    HOST_DIED = "host_died"
    DRAIN = "drain"
    REPLACED = "replaced"
    KICKED = "kicked"
    LOADER_GONE = "loader_gone"
    CREATE_FAILED = "create_failed"
    ADMISSION = "admission"
    PROTOCOL = "protocol"


class Error(Exception):
    """An engine's own error: `code` (positive) and `message` reach the caller unchanged."""

    def __init__(self, code: int, message: str) -> None:
        if code <= 0 or code > 0x7FFFFFFF:
            raise ValueError(f"an engine's own code is from 1 to 2147483647, not {code}")
        super().__init__(message)
        self.code = code
        self.message = message


class Rejected(Exception):  # noqa: N818  it reads as what happened to the input
    """The client sent what this engine cannot accept; its text reaches the caller as INPUT_REJECTED."""


class Item:
    """One output item where the plain value does not say enough.

    `type` is bytes, text, json, audio, image, video or tensor; None: told from the value and from
    what the wrapper declares under that key. `status` is begin, continue, end or once.
    """

    __slots__ = ("attributes", "status", "type", "value")

    def __init__(
        self,
        value: object,
        *,
        type: str | None = None,  # noqa: A002  the word of the protocol
        status: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> None:
        self.value = value
        self.type = type
        self.status = status
        self.attributes = attributes

    def __repr__(self) -> str:
        return f"Item(type={self.type!r}, status={self.status!r}, attributes={self.attributes!r})"


class Result:
    """One output frame with repeated keys or a position.

    `items` is a mapping or a sequence of (key, value) pairs; `position` says how much of the input
    this result covers, in the engine's own unit.
    """

    __slots__ = ("items", "position")

    def __init__(
        self,
        items: Mapping[str, object] | Sequence[tuple[str, object]],
        *,
        position: int | None = None,
    ) -> None:
        self.items = items
        self.position = position

    def __repr__(self) -> str:
        return f"Result(items={len(self.items)}, position={self.position!r})"


class ItemView(Protocol):
    """One input item. It supports the buffer protocol: `memoryview(item)` copies nothing.

    A view stays valid for as long as the wrapper holds it.
    """

    @property
    def key(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def data_type(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def attributes(self) -> dict[str, str]: ...
    @property
    def value(self) -> Any:
        """What `frame[key]` gives: str, the parsed JSON, a NumPy array or a memoryview."""

    @property
    def data(self) -> memoryview:
        """The payload, not copied, read-only."""

    def numpy(self, dtype: str | None = None) -> np.ndarray[Any, Any]:
        """A read-only array over the payload: a tensor's own type and shape, else `dtype` in 1-D."""

    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...


class Frame(Protocol):
    """One message from the client. `frame["audio"]` is the value of the first item of that key.

    The value is a str for text, the parsed value for JSON, a NumPy array for a tensor, and a
    read-only memoryview (never a copy) for bytes, audio, image and video.
    """

    @property
    def seq(self) -> int: ...
    @property
    def items(self) -> tuple[ItemView, ...]:
        """Every item in order; keys may repeat."""

    def item(self, key: str) -> ItemView:
        """The first item of that key. Raises: KeyError."""

    def get(self, key: str, default: Any = None) -> Any:
        """As `frame[key]`, or `default` where no item has that key."""

    def __getitem__(self, key: str) -> Any: ...
    def __contains__(self, key: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...


class Port(Protocol):
    """The host's side of one session or call: everything here may be called from any thread."""

    @property
    def deadline(self) -> float | None:
        """Seconds left until the caller's deadline; None: it has none; negative: it is over."""

    @property
    def is_cancelled(self) -> bool:
        """The client is gone, has cancelled, or the session is being closed."""

    @property
    def session_id(self) -> str: ...
    def emit(self, value: object, position: int | None = None) -> None:
        """Sends one result; waits for credit. Raises: ConnectionError once the session is over."""

    async def emit_async(self, value: object, position: int | None = None) -> None:
        """As emit, without holding up the event loop."""

    def finish(self, error: BaseException | None = None) -> None:
        """Ends the call that returned PENDING, exactly once."""

    def log(self, text: str, level: int = 20) -> None: ...
    def meter(self, unit: str, amount: float) -> None: ...
    def trace(self, key: str, value: str) -> None: ...


class Params(Port, Protocol):
    """What create knows of its caller: a mapping of parameters, defaults filled in."""

    def fail(self, error: BaseException, /) -> None:
        """Ends the session with `error`, whatever it is doing; inside create, once that has returned."""

    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    def get(self, name: str, default: Any = None) -> Any: ...
    def __getitem__(self, name: str) -> Any: ...
    def __contains__(self, name: object) -> bool: ...


class Request(Port, Frame, Protocol):
    """A one-shot call: its frame, its parameters, and where its results go."""

    @property
    def metadata(self) -> dict[str, str]: ...
    @property
    def parameters(self) -> dict[str, Any]: ...
    @property
    def frame(self) -> Frame: ...


class Config(dict[str, Any]):
    """The engine's `config`, a dict, with what init may want to know beside it."""

    engine: str = ""
    version: str = ""
    directory: str = ""
    slots: int = 1
    threads: int = 1


class Session:
    """One session. Frames arrive in order and never overlap; subclass it and define `write`.

    `write` and `end` return, yield, are coroutines or async generators, or return PENDING.
    Optional: `end(self)`, `cancel(self, reason)` (from another thread while a call may still run:
    make that call return soon), `destroy(self, reason)` (once, when no call runs any more).
    """

    _port: Params | None = None

    def write(self, frame: Frame) -> Any:
        """One frame of input."""
        raise NotImplementedError(f"{type(self).__name__} does not define write(self, frame)")

    def emit(self, value: object, position: int | None = None) -> None:
        """Sends one result; waits for credit. Raises: ConnectionError once the session is over."""
        self._bound().emit(value, position)

    async def emit_async(self, value: object, position: int | None = None) -> None:
        """As emit, for coroutines: waiting for credit does not hold up the event loop."""
        await self._bound().emit_async(value, position)

    def finish(self, error: BaseException | None = None) -> None:
        """Ends the call that returned PENDING, exactly once; with `error` the session ends."""
        self._bound().finish(error)

    def fail(self, error: BaseException) -> None:
        """Ends the session with `error` at once, also while no call runs: for background threads and tasks.

        The client gets what was emitted before, then the error; `destroy` follows.
        Raises: ConnectionError once the session is over.
        """
        self._bound().fail(error)

    @property
    def deadline(self) -> float | None:
        """Seconds left until the caller's deadline; None: it has none."""
        return self._bound().deadline

    @property
    def is_cancelled(self) -> bool:
        """The client is gone, has cancelled, or the session is being closed."""
        return self._bound().is_cancelled

    @property
    def session_id(self) -> str:
        """Unique in the service; for logs."""
        return self._bound().session_id

    def log(self, text: str, level: int = 20) -> None:
        """One log line under the engine's name and this session."""
        self._bound().log(text, level)

    def meter(self, unit: str, amount: float) -> None:
        """Adds to a usage counter of the session: characters, seconds, tokens."""
        self._bound().meter(unit, amount)

    def trace(self, key: str, value: str) -> None:
        """Adds a key and value to the session's trace."""
        self._bound().trace(key, value)

    def _bound(self) -> Params:
        if self._port is None:
            raise RuntimeError(
                f"{type(self).__name__} is not open yet: create has to return it first "
                "(inside create use params.emit)"
            )
        return self._port


class Wrapper:
    """One engine. Define `exec`, `create` or both; everything else is optional.

    Optional methods, called when defined: `init(self, config)` and `fini(self)` on the main thread,
    `exec(self, request)`, `create(self, params)`, `update(self, config)` (takes a live change of
    config), `warm_up(self)` (after init, before the first session), `health(self)` (raise or return
    False when the engine cannot serve).

    `load_resource(self, number, key, data, attributes)` with `unload_resource(self, number)`: personal
    resources, such as the vocabulary of one user, that come and go while the engine serves (LoadResource of
    AdminService; `data` is bytes, `attributes` a dict of str). A session or call names those it wants in its
    parameter `resource_ids`: they are loaded by then, and stay until it has ended.

    `exec_batch` and `write_batch` are reserved for batching across sessions, which this version does not
    have: a wrapper that defines one is refused.
    """

    inputs: ClassVar[Mapping[str, Data]] = {}
    outputs: ClassVar[Mapping[str, Data]] = {}
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    properties: ClassVar[Properties] = Properties()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The declarations as `Describe` publishes them: the same JSON as a native wrapper's."""
        return declaration(cls.inputs, cls.outputs, cls.parameters, cls.properties)

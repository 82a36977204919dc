"""One call of a client on its way to a node: which one, what a refusal means, whether another is asked.

The same for the blocking and the asyncio client; knows errors and deadlines, refuses to know threads and event loops.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from loader import errors
from loader.client import messages
from loader.client.failures import ConnectionFailedError, from_rpc
from loader.v1.loader_pb2_grpc import LoaderServiceStub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from loader.client.discovery import Choice, Node, Pick
    from loader.client.messages import Target

MOST_NODES = 3  # asked for one call

# A call that was refused so has not reached an engine.
NEVER_BEGAN = (
    errors.DrainingError,
    errors.EngineUnavailableError,
    errors.InitFailedError,
    errors.NoFreeSlotError,
    errors.QueueFullError,
    errors.UnknownEngineError,
)
NOT_CONNECTED = "failed to connect"  # gRPC's own words

# Nodes vanish without a word: one that answers no ping is given up. A dead one is not waited for.
NODE_OPTIONS = [
    ("grpc.keepalive_time_ms", 15_000),  # a loader takes no more than one ping in ten seconds
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a minute without it, whatever the line above says
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # the time that one attempt to connect may take, too
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

Channel = TypeVar("Channel")


def may_open_elsewhere(error: errors.LoaderError) -> bool:
    """Of a session before it is open, and of what can be asked twice: no frame was taken."""
    return error.retry == "elsewhere"


def may_call_elsewhere(error: errors.LoaderError) -> bool:
    """Of a one-shot call: only what no engine has begun."""
    if isinstance(error, ConnectionFailedError):
        return NOT_CONNECTED in error.message.lower()
    return isinstance(error, NEVER_BEGAN)


class Connections(Generic[Channel]):
    """One channel for each node, made when it is first chosen."""

    def __init__(
        self, make: Callable[[str, Any, list[Any]], Channel], credentials: Any, options: Iterable[Any]
    ):
        self._make = make
        self._credentials = credentials
        self._options = list(options)
        self._lock = Lock()
        self._channels: dict[Node, Channel] = {}
        self._is_closed = False

    def check_open(self) -> None:
        """Raises: ValueError once the client is closed."""
        if self._is_closed:
            raise ValueError("this client is closed: make another one")

    def stub(self, node: Node) -> LoaderServiceStub:
        """To speak with the node. Raises: ValueError once the client is closed."""
        with self._lock:
            self.check_open()
            if node.connection is None:
                credentials = self._credentials
                if node.entry.is_tls and credentials is None:
                    credentials = grpc.ssl_channel_credentials()
                channel = self._make(node.entry.address, credentials, self._options)
                self._channels[node] = channel
                node.connection = LoaderServiceStub(channel)
            stub: LoaderServiceStub = node.connection
            return stub

    def take(self, nodes: Iterable[Node]) -> list[Channel]:
        """The channels of nodes that are gone, for the caller to close."""
        with self._lock:
            return [self._channels.pop(node) for node in nodes if node in self._channels]

    def take_all(self) -> list[Channel]:
        """Every channel, for the caller to close; no further one is made."""
        with self._lock:
            self._is_closed = True
            channels, self._channels = list(self._channels.values()), {}
            return channels


def channel_options(options: Iterable[Any], *, is_balanced: bool) -> list[Any]:
    """The caller's come last and win."""
    return [*messages.CHANNEL_OPTIONS, *(NODE_OPTIONS if is_balanced else ()), *options]


class Attempt:
    """One call: at most MOST_NODES nodes within its deadline."""

    def __init__(
        self,
        choice: Choice,
        connections: Connections[Any],
        target: Target,
        timeout_s: float | None,
        may_retry: Callable[[errors.LoaderError], bool],
    ) -> None:
        self.target = target
        self._choice = choice
        self._connections = connections
        self._timeout_s = timeout_s
        self._until_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._may_retry = may_retry
        self._tried: list[Node] = []
        self._last: errors.LoaderError | None = None

    @property
    def remaining_s(self) -> float | None:
        """Of the caller's deadline."""
        return None if self._until_s is None else max(0.0, self._until_s - time.monotonic())

    def lease(self) -> Lease | None:
        """A node. None: none is known. Raises: the last refusal, where no other node is left."""
        self._connections.check_open()
        pick = self._choice.pick(self.target, self._tried)
        if pick is None:
            if self._last is not None:
                raise self._last
            return None
        self._tried.append(pick.node)
        try:
            return Lease(self, self._choice, pick, self._connections.stub(pick.node))
        except BaseException:
            self._choice.release(pick)
            raise

    def commit(self) -> None:
        """Something has come back: from now on every failure is the caller's to see."""
        self._may_retry = _never

    def goes_on_after(self, error: errors.LoaderError) -> bool:
        """Whether another node is to be asked."""
        self._last = error
        is_in_time = self._until_s is None or time.monotonic() < self._until_s
        return is_in_time and len(self._tried) < MOST_NODES and self._may_retry(error)


def _never(_: errors.LoaderError) -> bool:
    return False


class Lease:
    """The use of a node for one call: `with` gives it back, and ends quietly where another node is to be asked.

    Raises what gRPC raises as the classes of loader.errors.
    """

    def __init__(self, attempt: Attempt, choice: Choice, pick: Pick, stub: LoaderServiceStub) -> None:
        self.stub = stub
        self.address = pick.node.entry.address
        self._attempt = attempt
        self._choice = choice
        self._pick: Pick | None = pick
        self._is_kept = False

    def keep_until_done(self, call: Any) -> None:
        """The call outlives the block: the node is in use until it ends."""
        self._is_kept = True
        call.add_done_callback(lambda _: self.release())

    def release(self) -> None:
        """Gives the node back; a second time has no effect."""
        pick, self._pick = self._pick, None
        if pick is not None:
            self._choice.release(pick)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        pick = self._pick
        if not self._is_kept or error is not None:
            self.release()
        if isinstance(error, grpc.RpcError):
            typed: errors.LoaderError = from_rpc(error, self.address)
            typed.__cause__ = error
        elif isinstance(error, errors.LoaderError):
            typed = error
        else:
            if error is None and pick is not None:
                self._choice.note(pick, None)
            return False
        if pick is not None:
            self._choice.note(pick, typed)
        if self._attempt.goes_on_after(typed):
            return True
        if typed is not error:
            raise typed
        return False

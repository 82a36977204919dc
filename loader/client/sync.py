"""The blocking client. One `Client` is one channel; any number of calls and sessions share it.

Thread-safe; a session may be written by one thread and read by another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

import grpc

from loader import errors
from loader.client import messages
from loader.client.balancer import (
    Attempt,
    Connections,
    Lease,
    channel_options,
    may_call_elsewhere,
    may_open_elsewhere,
)
from loader.client.discovery import Choice, Node, Nodes, OneNode
from loader.client.failures import from_message, from_rpc
from loader.client.messages import Engine, Final, Opened, Target, Which, to_target
from loader.client.outgoing import Outgoing
from loader.client.values import Items, Result, from_frame, to_frame
from loader.client.watching import Background, Watch, is_registry
from loader.v1 import loader_pb2

if TYPE_CHECKING:
    from loader.consul_link import ConsulAccess
    from loader.registry import NodeEntry

Parameters = Mapping[str, object] | None


class Client:
    """Calls engines: of the loader at `address` ("host:port"), or of all loaders that a registry there names
    ("consul://host:port/service", "file:directory").

    `credentials` as from grpc.ssl_channel_credentials; without them the connection is not encrypted, or, with a
    registry, as the node says. `zone`, with a registry: nodes of this zone are preferred. `access`: to Consul.
    Every method takes `timeout_s`, the deadline of the whole call or session, waiting and other nodes included; the
    engine sees it. `version`, `selector` and `labels` say which engine beside its name.
    Raises: the classes of loader.errors, by the loader's code; ConnectionFailedError where none answered.
    """

    def __init__(
        self,
        address: str,
        *,
        credentials: Any = None,
        options: Iterable[Any] = (),
        zone: str = "",
        access: ConsulAccess | None = None,
    ) -> None:
        self.address = address
        self._watch: Watch | None = None
        self._background: Background | None = None
        merged = channel_options(options, is_balanced=is_registry(address))
        self._connections: Connections[grpc.Channel] = Connections(_channel, credentials, merged)
        self._choice: Choice
        if is_registry(address):
            self._choice = nodes = Nodes(zone, needs_tls=credentials is not None)
            self._watch = Watch(address, access, nodes, self._forget)
            self._background = Background(self._watch)
        else:
            self._choice = OneNode(address)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def nodes(self) -> list[NodeEntry]:
        """The nodes that the registry lists, as this client knows them; empty without a registry."""
        return self._choice.known if isinstance(self._choice, Nodes) else []

    @property
    def is_registry_reachable(self) -> bool:
        """Without it the nodes known last are used. True without a registry."""
        return self._watch is None or self._watch.is_reachable

    def close(self) -> None:
        """Ends every call and session of this client."""
        if self._background is not None:
            self._background.close()
        for channel in self._connections.take_all():
            channel.close()

    def describe(
        self, engine: str = "", *, version: str = "", timeout_s: float | None = None
    ) -> list[Engine]:
        """The engines of this loader, or the one of that name; with a registry, as one of the nodes has them.

        `version`: of a node that has it, with all that the node has of that name.
        """
        attempt = self._attempt(Target(engine, version), timeout_s, may_open_elsewhere)
        while True:
            with self._lease(attempt) as lease:
                request = loader_pb2.DescribeRequest(engine=engine)
                answer = lease.stub.Describe(request, timeout=attempt.remaining_s)
                return [messages.to_engine(one) for one in answer.engines]

    def exec(
        self,
        target: str | Target = "",
        items: Items = (),
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        **which: Unpack[Which],
    ) -> list[Result]:
        """Every result of a one-shot call, in order."""
        wanted = to_target(target, which)
        request = messages.exec_request(wanted, items, params)
        attempt = self._attempt(wanted, timeout_s, may_call_elsewhere)
        while True:
            with self._lease(attempt) as lease:
                answer = lease.stub.Exec(request, timeout=attempt.remaining_s)
                return [from_frame(frame) for frame in answer.frames]

    def exec_stream(
        self,
        target: str | Target = "",
        items: Items = (),
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        **which: Unpack[Which],
    ) -> Iterator[Result]:
        """The results of a one-shot call as the engine emits them. Closing the iterator cancels the call."""
        wanted = to_target(target, which)
        request = messages.stream_request(wanted, items, params)
        attempt = self._attempt(wanted, timeout_s, may_call_elsewhere)
        while True:
            with self._lease(attempt) as lease:
                call = lease.stub.ExecStream(request, timeout=attempt.remaining_s)
                try:
                    for answer in call:
                        if answer.WhichOneof("message") == "result":
                            attempt.commit()
                            yield from_frame(answer.result)
                    return
                finally:
                    call.cancel()

    def session(
        self,
        target: str | Target = "",
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        **which: Unpack[Which],
    ) -> ClientSession:
        """A session, opened by `with`. It stays on its node for life."""
        wanted = to_target(target, which)

        def attempt() -> Attempt:
            return self._attempt(wanted, timeout_s, may_open_elsewhere)

        return ClientSession(attempt, self._lease, messages.open_request(wanted, params))

    def _attempt(
        self, target: Target, timeout_s: float | None, may_retry: Callable[[errors.LoaderError], bool]
    ) -> Attempt:
        return Attempt(self._choice, self._connections, target, timeout_s, may_retry)

    def _lease(self, attempt: Attempt) -> Lease:
        """A node for the call; waits a little where the registry knows none. Raises: why there is none."""
        lease = attempt.lease()
        if lease is not None or self._watch is None:
            assert lease is not None, "one node is always known"
            return lease
        since_s, changed = time.monotonic(), Event()
        with self._watch.listening(changed.set):
            while (lease := attempt.lease()) is None:
                changed.wait(self._watch.patience_s(attempt, since_s))
                changed.clear()
        return lease

    def _forget(self, nodes: list[Node]) -> None:
        for channel in self._connections.take(nodes):
            channel.close()


def _channel(address: str, credentials: Any, options: list[Any]) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)


class ClientSession:
    """One session. `with` opens it and waits for the loader's answer; leaving the block closes it.

    with client.session("asr") as session:
        for chunk in chunks:
            session.write({"audio": chunk})
        for result in session:      # ends the input, then gives every result
            print(result)

    To read while writing goes on, iterate `stream(frames)`, or `results()` beside a thread that writes.
    """

    def __init__(
        self,
        attempt: Callable[[], Attempt],
        lease: Callable[[Attempt], Lease],
        opening: loader_pb2.SessionRequest,
    ) -> None:
        self._attempt = attempt
        self._lease = lease
        self._opening = opening
        self._outgoing = Outgoing(opening)
        self.address = ""  # of the loader that serves it
        self._open_call: Any = None
        self._opened: Opened | None = None
        self._failure: errors.LoaderError | None = None  # what the final says
        self._unread: deque[loader_pb2.SessionResponse] = deque()  # what a failed write found
        self.final: Final | None = None

    @property
    def _call(self) -> Any:
        if self._open_call is None:
            raise RuntimeError(messages.NOT_OPEN.format("with"))
        return self._open_call

    @property
    def opened(self) -> Opened:
        """What the loader granted: id, engine version, limits."""
        if self._opened is None:
            raise RuntimeError(messages.NOT_OPEN.format("with"))
        return self._opened

    def __enter__(self) -> ClientSession:
        if self._open_call is not None:
            raise RuntimeError(messages.USED_ONCE)
        attempt = self._attempt()
        while self._opened is None:
            with self._lease(attempt) as lease:
                self._opened = self._open(lease, attempt.remaining_s)
        return self

    def _open(self, lease: Lease, timeout_s: float | None) -> Opened:
        """Asks one node; what an earlier one said is forgotten."""
        self._failure, self.final = None, None
        self.address = lease.address
        self._outgoing = outgoing = Outgoing(self._opening)
        self._open_call = lease.stub.Session(outgoing, timeout=timeout_s)
        self._call.add_done_callback(lambda _: outgoing.close())
        lease.keep_until_done(self._call)
        try:
            return self._read_opened()
        except BaseException:
            self._call.cancel()  # no effect on one that is over
            raise

    def _read_opened(self) -> Opened:
        answer = self._next()
        if answer is not None and answer.WhichOneof("message") == "final":
            self._end_with(answer.final)
            self._next()  # the status; a refusal without an error of its own is raised here
        if answer is None or answer.WhichOneof("message") != "opened":
            raise errors.InternalError("the loader did not answer with opened: is it a loader.v1 service?")
        return messages.to_opened(answer.opened)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()  # no effect on a session that has ended
        self._outgoing.close()

    def write(self, items: Items, *, timeout_s: float | None = None) -> None:
        """Sends one frame; waits while the loader takes none.

        Raises: TimeoutError after `timeout_s`; the session's own error once it is over and that was read:
        gRPC tells a writer nothing.
        """
        if not self._put(items, timeout_s):
            self._raise_end()

    def end(self) -> None:
        """Says that nothing more will be written; results may still come."""
        _ = self._call  # only once it is open
        self._outgoing.end()

    def cancel(self) -> None:
        """Closes the session now, without waiting for results."""
        self._call.cancel()

    def __iter__(self) -> Iterator[Result]:
        self.end()
        return self.results()

    def results(self) -> Iterator[Result]:
        """Results as they come, until the session is over; does not end the input."""
        while (answer := self._next()) is not None:
            kind = answer.WhichOneof("message")
            if kind == "result":
                yield from_frame(answer.result)
            elif kind == "final":
                self._end_with(answer.final)

    def stream(self, frames: Iterable[Items]) -> Iterator[Result]:
        """Writes every frame from a thread of its own, ends the input, and gives results meanwhile.

        What iterating `frames` raises is raised here, and cancels the session.
        """
        from loader.client.feeder import Feeder

        feeder = Feeder(self, self._put, frames)
        feeder.start()
        try:
            yield from self.results()
        except errors.LoaderError:
            if feeder.failure is None:
                raise
        finally:
            if not self._call.done() and self.final is None:
                self._call.cancel()
            feeder.stop()
        if feeder.failure is not None:
            raise feeder.failure

    def _end_with(self, final: loader_pb2.Final) -> None:
        self.final = messages.to_final(final)
        if final.error.code:
            self._failure = from_message(final.error)
            raise self._failure

    def _put(self, items: Items, timeout_s: float | None = None) -> bool:
        """False: the session is over."""
        call = self._call
        if self._outgoing.is_ended and not call.done():
            raise errors.ProtocolViolationError("the input of this session has ended: write before end")
        if self.final is not None:
            return False
        return self._outgoing.put(loader_pb2.SessionRequest(frame=to_frame(items)), timeout_s)

    def _next(self) -> loader_pb2.SessionResponse | None:
        if not self._unread:
            answer = self._read()
            if not self._unread:
                return answer
            if answer is not None:
                self._unread.append(answer)
        return self._unread.popleft()

    def _read(self) -> loader_pb2.SessionResponse | None:
        try:
            return next(self._call, None)
        except grpc.RpcError as failure:
            raise from_rpc(failure, self.address) from failure

    def _raise_end(self) -> None:
        """The session is over: raises why. What has come before it is kept for whoever reads."""
        if self._failure is not None:
            raise self._failure
        until = time.monotonic() + 5.0
        final = next((one.final for one in tuple(self._unread) if one.WhichOneof("message") == "final"), None)
        while final is None and time.monotonic() < until and (answer := self._read()) is not None:
            self._unread.append(answer)
            if answer.WhichOneof("message") == "final":
                final = answer.final
        if final is not None:
            self._end_with(final)
        reason = self.final.reason if self.final else "unknown"
        raise errors.ProtocolViolationError(f"the session is over (reason {reason}): open another one")

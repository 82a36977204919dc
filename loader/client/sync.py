"""The blocking client. One `Client` is one channel; any number of calls and sessions share it.

Thread-safe; a session may be written by one thread and read by another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import grpc

from loader import errors
from loader.client import messages
from loader.client.failures import from_message, from_rpc
from loader.client.messages import Engine, Final, Opened, Target
from loader.client.outgoing import Outgoing
from loader.client.values import Items, Result, from_frame, to_frame
from loader.v1 import loader_pb2
from loader.v1.loader_pb2_grpc import LoaderServiceStub

Parameters = Mapping[str, object] | None


class Client:
    """Calls the engines of the loader at `address` ("host:port").

    `credentials` as from grpc.ssl_channel_credentials; without them the connection is not encrypted.
    Every method takes `timeout_s`, the deadline of the whole call or session; the engine sees it.
    Raises: the classes of loader.errors, by the loader's code; ConnectionFailedError where none answered.
    """

    def __init__(self, address: str, *, credentials: Any = None, options: Iterable[Any] = ()) -> None:
        self.address = address
        merged = [*messages.CHANNEL_OPTIONS, *options]
        if credentials is None:
            self._channel = grpc.insecure_channel(address, options=merged)
        else:
            self._channel = grpc.secure_channel(address, credentials, options=merged)
        self._stub = LoaderServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every call and session of this client."""
        self._channel.close()

    def describe(self, engine: str = "", *, timeout_s: float | None = None) -> list[Engine]:
        """The engines of this loader, or the one of that name."""
        with self._typed_errors():
            answer = self._stub.Describe(loader_pb2.DescribeRequest(engine=engine), timeout=timeout_s)
        return [messages.to_engine(one) for one in answer.engines]

    def exec(
        self,
        target: str | Target,
        items: Items,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
    ) -> list[Result]:
        """Every result of a one-shot call, in order."""
        request = messages.exec_request(target, items, params)
        with self._typed_errors():
            answer = self._stub.Exec(request, timeout=timeout_s)
        return [from_frame(frame) for frame in answer.frames]

    def exec_stream(
        self,
        target: str | Target,
        items: Items,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
    ) -> Iterator[Result]:
        """The results of a one-shot call as the engine emits them. Closing the iterator cancels the call."""
        request = messages.stream_request(target, items, params)
        call = self._stub.ExecStream(request, timeout=timeout_s)
        try:
            with self._typed_errors():
                for answer in call:
                    if answer.WhichOneof("message") == "result":
                        yield from_frame(answer.result)
        finally:
            call.cancel()

    def session(
        self, target: str | Target, params: Parameters = None, *, timeout_s: float | None = None
    ) -> ClientSession:
        """A session, opened by `with`."""
        return ClientSession(self, self._stub, messages.open_request(target, params), timeout_s)

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as failure:
            raise from_rpc(failure, self.address) from failure


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
        client: Client,
        stub: LoaderServiceStub,
        opening: loader_pb2.SessionRequest,
        timeout_s: float | None,
    ) -> None:
        self._client = client
        self._stub = stub
        self._outgoing = Outgoing(opening)
        self._timeout_s = timeout_s
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
        self._open_call = self._stub.Session(self._outgoing, timeout=self._timeout_s)
        self._call.add_done_callback(lambda _: self._outgoing.close())
        answer = self._next()
        if answer is not None and answer.WhichOneof("message") == "final":
            self._end_with(answer.final)
            self._next()  # the status; a refusal without an error of its own is raised here
        if answer is None or answer.WhichOneof("message") != "opened":
            raise errors.InternalError("the loader did not answer with opened: is it a loader.v1 service?")
        self._opened = messages.to_opened(answer.opened)
        return self

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
            raise from_rpc(failure, self._client.address) from failure

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

"""The asyncio client: the same calls as the blocking one, on grpc.aio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import grpc.aio

from loader import errors
from loader.client import messages
from loader.client.failures import ConnectionFailedError, from_message, from_rpc
from loader.client.messages import Engine, Final, Opened, Target
from loader.client.values import Items, Result, from_frame, to_frame
from loader.v1 import loader_pb2
from loader.v1.loader_pb2_grpc import LoaderServiceStub

Parameters = Mapping[str, object] | None

FEEDER_END_S = 5.0
FAILED_WRITE = "Internal error from Core"  # what grpc.aio makes of the call when a write fails


class AsyncClient:
    """As `Client`, for coroutines. Make it inside the running event loop."""

    def __init__(self, address: str, *, credentials: Any = None, options: Iterable[Any] = ()) -> None:
        self.address = address
        merged = [*messages.CHANNEL_OPTIONS, *options]
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=merged)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=merged)
        self._stub = LoaderServiceStub(self._channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends every call and session of this client."""
        await self._channel.close()

    async def describe(self, engine: str = "", *, timeout_s: float | None = None) -> list[Engine]:
        """The engines of this loader, or the one of that name."""
        with typed_errors(self.address):
            answer = await self._stub.Describe(loader_pb2.DescribeRequest(engine=engine), timeout=timeout_s)
        return [messages.to_engine(one) for one in answer.engines]

    async def exec(
        self,
        target: str | Target,
        items: Items,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
    ) -> list[Result]:
        """Every result of a one-shot call, in order."""
        request = messages.exec_request(target, items, params)
        with typed_errors(self.address):
            answer = await self._stub.Exec(request, timeout=timeout_s)
        return [from_frame(frame) for frame in answer.frames]

    async def exec_stream(
        self,
        target: str | Target,
        items: Items,
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Result]:
        """The results of a one-shot call as the engine emits them. Closing the iterator cancels the call."""
        request = messages.stream_request(target, items, params)
        call = self._stub.ExecStream(request, timeout=timeout_s)
        try:
            with typed_errors(self.address):
                async for answer in call:
                    if answer.WhichOneof("message") == "result":
                        yield from_frame(answer.result)
        finally:
            call.cancel()

    def session(
        self, target: str | Target, params: Parameters = None, *, timeout_s: float | None = None
    ) -> AsyncSession:
        """A session, opened by `async with`."""
        return AsyncSession(self.address, self._stub, messages.open_request(target, params), timeout_s)


@contextmanager
def typed_errors(address: str) -> Iterator[None]:
    """Raises what gRPC raises as the classes of loader.errors."""
    try:
        yield
    except grpc.aio.AioRpcError as failure:
        raise from_rpc(failure, address) from failure


class AsyncSession:
    """One session, as `ClientSession`: `async for result in session` ends the input and gives results."""

    def __init__(
        self,
        address: str,
        stub: LoaderServiceStub,
        opening: loader_pb2.SessionRequest,
        timeout_s: float | None,
    ) -> None:
        self._address = address
        self._stub = stub
        self._opening = opening
        self._timeout_s = timeout_s
        self._open_call: Any = None
        self._answers: Any = None
        self._failure: errors.LoaderError | None = None  # why the session is over
        self._opened: Opened | None = None
        self._is_ended = False
        self._is_cancelled = False
        self._reading = asyncio.Lock()
        self._unread: deque[loader_pb2.SessionResponse] = deque()  # what a failed write found
        self.final: Final | None = None

    @property
    def _call(self) -> Any:
        if self._open_call is None:
            raise RuntimeError(messages.NOT_OPEN.format("async with"))
        return self._open_call

    @property
    def opened(self) -> Opened:
        """What the loader granted: id, engine version, limits."""
        if self._opened is None:
            raise RuntimeError(messages.NOT_OPEN.format("async with"))
        return self._opened

    async def __aenter__(self) -> AsyncSession:
        if self._open_call is not None:
            raise RuntimeError(messages.USED_ONCE)
        self._open_call = self._stub.Session(timeout=self._timeout_s)
        # Not read(): that gives nothing more once a write has failed, the final with the reason included.
        self._answers = aiter(self._open_call)
        await self._send(self._opening)  # where it is already refused, the read says why
        answer = await self._next()
        if answer is not None and answer.WhichOneof("message") == "final":
            self._end_with(answer.final)
            await self._next()  # the status; a refusal without an error of its own is raised here
        if answer is None or answer.WhichOneof("message") != "opened":
            raise errors.InternalError("the loader did not answer with opened: is it a loader.v1 service?")
        self._opened = messages.to_opened(answer.opened)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()  # no effect on a session that has ended

    async def write(self, items: Items) -> None:
        """Sends one frame; waits while the loader takes none. Raises: the session's error once it is over."""
        if self._is_ended:
            raise errors.ProtocolViolationError("the input of this session has ended: write before end")
        if not await self._send(loader_pb2.SessionRequest(frame=to_frame(items))):
            await self._raise_end()

    async def end(self) -> None:
        """Says that nothing more will be written; results may still come."""
        call = self._call
        if not self._is_ended:
            self._is_ended = True
            with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # over: whoever reads learns why
                await call.done_writing()

    def cancel(self) -> None:
        """Closes the session now, without waiting for results."""
        self._is_cancelled = True
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[Result]:
        await self.end()
        async for result in self.results():
            yield result

    async def results(self) -> AsyncIterator[Result]:
        """Results as they come, until the session is over; does not end the input."""
        while (answer := await self._next()) is not None:
            kind = answer.WhichOneof("message")
            if kind == "result":
                yield from_frame(answer.result)
            elif kind == "final":
                self._end_with(answer.final)

    async def stream(self, frames: Iterable[Items] | AsyncIterable[Items]) -> AsyncIterator[Result]:
        """Writes every frame in a task of its own, ends the input, and gives results meanwhile.

        What iterating `frames` raises is raised here, and cancels the session.
        """
        feeding = asyncio.create_task(self._feed(frames))
        try:
            async for result in self.results():
                yield result
        except errors.LoaderError:
            if not _has_failed(feeding):
                raise
        finally:
            if self.final is None:
                self.cancel()
            feeding.cancel()
            await asyncio.wait((feeding,), timeout=FEEDER_END_S)
            failure = feeding.exception() if _has_failed(feeding) else None
        if failure is not None:
            raise failure

    async def _feed(self, frames: Iterable[Items] | AsyncIterable[Items]) -> None:
        try:
            async for frame in _each(frames):
                if not await self._send(loader_pb2.SessionRequest(frame=to_frame(frame))):
                    return  # the session is over: whoever reads it learns why
            await self.end()
        except BaseException:
            self.cancel()
            raise

    async def _send(self, request: loader_pb2.SessionRequest) -> bool:
        """False: the session is over."""
        call = self._call
        try:
            await call.write(request)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            return False
        except asyncio.CancelledError:
            if self._is_own_cancel():
                return False
            raise
        return True

    def _end_with(self, final: loader_pb2.Final) -> None:
        self.final = messages.to_final(final)
        if final.error.code:
            self._failure = from_message(final.error)
            raise self._failure

    async def _next(self) -> loader_pb2.SessionResponse | None:
        if not self._unread:
            answer = await self._read()
            if not self._unread:
                return answer
            if answer is not None:
                self._unread.append(answer)
        return self._unread.popleft()

    async def _read(self) -> loader_pb2.SessionResponse | None:
        _ = self._call  # only once it is open
        async with self._reading:
            if self._failure is not None:
                raise self._failure
            try:
                answer: loader_pb2.SessionResponse | None = await anext(self._answers, None)
            except grpc.aio.AioRpcError as failure:
                self._failure = self._explained(failure)
                raise self._failure from failure
            except asyncio.CancelledError:
                self._failure = errors.CancelledError("this session was cancelled by its own client")
                if self._is_own_cancel():
                    raise self._failure from None
                raise
        return answer

    def _explained(self, failure: grpc.aio.AioRpcError) -> errors.LoaderError:
        """A write that failed leaves INTERNAL in place of the status."""
        if not (failure.details() or "").startswith(FAILED_WRITE):
            return from_rpc(failure, self._address)
        if self._call.time_remaining() == 0:
            return errors.DeadlineExceededError(f"the session has not ended within {self._timeout_s} s")
        return ConnectionFailedError(
            f"the session broke while a frame was written (loader at {self._address})"
        )

    def _is_own_cancel(self) -> bool:
        """The session was cancelled, and not the task: gRPC says both with the same exception."""
        task = asyncio.current_task()
        return self._is_cancelled and not (task is not None and task.cancelling())

    async def _raise_end(self) -> None:
        """The session is over: raises why. What has come before it is kept for whoever reads."""
        final = next((one.final for one in self._unread if one.WhichOneof("message") == "final"), None)
        while final is None and (answer := await self._read()) is not None:
            self._unread.append(answer)
            if answer.WhichOneof("message") == "final":
                final = answer.final
        if final is not None:
            self._end_with(final)
        reason = self.final.reason if self.final else "unknown"
        raise errors.ProtocolViolationError(f"the session is over (reason {reason}): open another one")


def _has_failed(feeding: asyncio.Task[None]) -> bool:
    return feeding.done() and not feeding.cancelled() and feeding.exception() is not None


async def _each(frames: Iterable[Items] | AsyncIterable[Items]) -> AsyncIterator[Items]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame

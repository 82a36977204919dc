"""The asyncio client: the same calls as the blocking one, on grpc.aio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import grpc.aio

from loader import errors
from loader.client import messages
from loader.client.failures import from_message, from_rpc
from loader.client.messages import Engine, Final, Opened, Target
from loader.client.values import Items, Result, from_frame, to_frame
from loader.v1 import loader_pb2
from loader.v1.loader_pb2_grpc import LoaderServiceStub

Parameters = Mapping[str, object] | None


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
        self._call: Any = None
        self._opened: Opened | None = None
        self._is_ended = False
        self.final: Final | None = None

    @property
    def opened(self) -> Opened:
        """What the loader granted: id, engine version, limits."""
        if self._opened is None:
            raise RuntimeError("the session is not open: use `async with client.session(...) as session`")
        return self._opened

    async def __aenter__(self) -> AsyncSession:
        self._call = self._stub.Session(timeout=self._timeout_s)
        with typed_errors(self._address):
            with suppress(asyncio.InvalidStateError):  # already refused: the read says why
                await self._call.write(self._opening)
            answer = await self._next()
        if answer is not None and answer.WhichOneof("message") == "final":
            self._end_with(answer.final)
            await self._next()  # the status; a refusal without an error of its own is raised here
        if answer is None or answer.WhichOneof("message") != "opened":
            raise errors.InternalError("the loader did not answer with opened: is it a loader.v1 service?")
        self._opened = messages.to_opened(answer.opened)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()  # no effect on a session that has ended

    async def write(self, items: Items) -> None:
        """Sends one frame; waits while the loader takes none. Raises: the session's error once it is over."""
        if self._is_ended:
            raise errors.ProtocolViolationError("the input of this session has ended: write before end")
        with typed_errors(self._address):
            try:
                await self._call.write(loader_pb2.SessionRequest(frame=to_frame(items)))
            except asyncio.InvalidStateError:
                await self._raise_end()

    async def end(self) -> None:
        """Says that nothing more will be written; results may still come."""
        if not self._is_ended:
            self._is_ended = True
            await self._call.done_writing()

    def cancel(self) -> None:
        """Closes the session now, without waiting for results."""
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
        """Writes every frame in a task of its own, ends the input, and gives results meanwhile."""
        feeding = asyncio.create_task(self._feed(frames))
        try:
            async for result in self.results():
                yield result
        finally:
            feeding.cancel()
        failure = await asyncio.gather(feeding, return_exceptions=True)
        if isinstance(failure[0], Exception) and not isinstance(failure[0], errors.LoaderError):
            raise failure[0]

    async def _feed(self, frames: Iterable[Items] | AsyncIterable[Items]) -> None:
        try:
            if isinstance(frames, AsyncIterable):
                async for frame in frames:
                    await self.write(frame)
            else:
                for frame in frames:
                    await self.write(frame)
            await self.end()
        except errors.LoaderError:
            raise
        except Exception:
            self.cancel()
            raise

    def _end_with(self, final: loader_pb2.Final) -> None:
        self.final = messages.to_final(final)
        if final.error.code:
            raise from_message(final.error)

    async def _next(self) -> loader_pb2.SessionResponse | None:
        with typed_errors(self._address):
            answer = await self._call.read()
        return None if answer is grpc.aio.EOF else answer

    async def _raise_end(self) -> None:
        """The session is over: raises why."""
        async for _ in self.results():
            pass
        reason = self.final.reason if self.final else "unknown"
        raise errors.ProtocolViolationError(f"the session is over (reason {reason}): open another one")

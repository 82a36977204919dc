"""The asyncio client: the same calls as the blocking one, on grpc.aio."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Unpack

import grpc
import grpc.aio

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
from loader.client.failures import ConnectionFailedError, from_message, from_rpc
from loader.client.messages import Engine, Final, Opened, Target, Which, to_target
from loader.client.values import Items, Result, from_frame, to_frame
from loader.client.watching import END_S, Watch, is_registry
from loader.v1 import loader_pb2

if TYPE_CHECKING:
    from loader.consul_link import ConsulAccess
    from loader.registry import NodeEntry

Parameters = Mapping[str, object] | None

FEEDER_END_S = 5.0
FAILED_WRITE = "Internal error from Core"  # what grpc.aio makes of the call when a write fails


class AsyncClient:
    """As `Client`, for coroutines. Make it inside the running event loop."""

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
        self._tasks: set[asyncio.Task[None]] = set()
        merged = channel_options(options, is_balanced=is_registry(address))
        self._connections: Connections[grpc.aio.Channel] = Connections(_channel, credentials, merged)
        self._choice: Choice
        if is_registry(address):
            self._choice = nodes = Nodes(zone, needs_tls=credentials is not None)
            self._watch = Watch(address, access, nodes, self._forget)
            self._begin(self._watch.run())
        else:
            self._choice = OneNode(address)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def nodes(self) -> list[NodeEntry]:
        """The nodes that the registry lists, as this client knows them; empty without a registry."""
        return self._choice.known if isinstance(self._choice, Nodes) else []

    @property
    def is_registry_reachable(self) -> bool:
        """Without it the nodes known last are used. True without a registry."""
        return self._watch is None or self._watch.is_reachable

    async def close(self) -> None:
        """Ends every call and session of this client."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_S)
        for channel in self._connections.take_all():
            await channel.close()

    async def describe(
        self, engine: str = "", *, version: str = "", timeout_s: float | None = None
    ) -> list[Engine]:
        """The engines of this loader, or the one of that name; with a registry, as one of the nodes has them.

        `version`: of a node that has it, with all that the node has of that name.
        """
        attempt = self._attempt(Target(engine, version), timeout_s, may_open_elsewhere)
        while True:
            with await self._lease(attempt) as lease, _errors_of_cancels():
                request = loader_pb2.DescribeRequest(engine=engine)
                answer = await lease.stub.Describe(request, timeout=attempt.remaining_s)
                return [messages.to_engine(one) for one in answer.engines]

    async def exec(
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
            with await self._lease(attempt) as lease, _errors_of_cancels():
                answer = await lease.stub.Exec(request, timeout=attempt.remaining_s)
                return [from_frame(frame) for frame in answer.frames]

    async def exec_stream(
        self,
        target: str | Target = "",
        items: Items = (),
        params: Parameters = None,
        *,
        timeout_s: float | None = None,
        **which: Unpack[Which],
    ) -> AsyncIterator[Result]:
        """The results of a one-shot call as the engine emits them. Closing the iterator cancels the call."""
        wanted = to_target(target, which)
        request = messages.stream_request(wanted, items, params)
        attempt = self._attempt(wanted, timeout_s, may_call_elsewhere)
        while True:
            with await self._lease(attempt) as lease, _errors_of_cancels():
                call = lease.stub.ExecStream(request, timeout=attempt.remaining_s)
                try:
                    async for answer in call:
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
    ) -> AsyncSession:
        """A session, opened by `async with`. It stays on its node for life."""
        wanted = to_target(target, which)

        def attempt() -> Attempt:
            return self._attempt(wanted, timeout_s, may_open_elsewhere)

        return AsyncSession(attempt, self._lease, messages.open_request(wanted, params))

    def _attempt(
        self, target: Target, timeout_s: float | None, may_retry: Callable[[errors.LoaderError], bool]
    ) -> Attempt:
        return Attempt(self._choice, self._connections, target, timeout_s, may_retry)

    async def _lease(self, attempt: Attempt) -> Lease:
        """A node for the call; waits a little where the registry knows none. Raises: why there is none."""
        lease = attempt.lease()
        if lease is not None or self._watch is None:
            assert lease is not None, "one node is always known"
            return lease
        since_s, changed = time.monotonic(), asyncio.Event()
        with self._watch.listening(changed.set):
            while (lease := attempt.lease()) is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._watch.patience_s(attempt, since_s)):
                        await changed.wait()
                changed.clear()
        return lease

    def _forget(self, nodes: list[Node]) -> None:
        for channel in self._connections.take(nodes):
            self._begin(channel.close())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _channel(address: str, credentials: Any, options: list[Any]) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)


class AsyncSession:
    """One session, as `ClientSession`: `async for result in session` ends the input and gives results."""

    def __init__(
        self,
        attempt: Callable[[], Attempt],
        lease: Callable[[Attempt], Awaitable[Lease]],
        opening: loader_pb2.SessionRequest,
    ) -> None:
        self._attempt = attempt
        self._lease = lease
        self._opening = opening
        self.address = ""  # of the loader that serves it
        self._timeout_s: float | None = None
        self._open_call: Any = None
        self._answers: Any = None
        self._failure: errors.LoaderError | None = None  # why the session is over
        self._opened: Opened | None = None
        self._is_ended = False
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
        attempt = self._attempt()
        self._timeout_s = attempt.remaining_s
        while self._opened is None:
            with await self._lease(attempt) as lease:
                self._opened = await self._open(lease, attempt.remaining_s)
        return self

    async def _open(self, lease: Lease, timeout_s: float | None) -> Opened:
        """Asks one node; what an earlier one said is forgotten."""
        self._failure, self.final = None, None
        self.address = lease.address
        self._open_call = lease.stub.Session(timeout=timeout_s)
        lease.keep_until_done(self._open_call)
        # Not read(): that gives nothing more once a write has failed, the final with the reason included.
        self._answers = aiter(self._open_call)
        try:
            await self._send(self._opening)  # where it is already refused, the read says why
            return await self._read_opened()
        except BaseException:
            self._open_call.cancel()  # no effect on one that is over
            raise

    async def _read_opened(self) -> Opened:
        answer = await self._next()
        if answer is not None and answer.WhichOneof("message") == "final":
            self._end_with(answer.final)
            await self._next()  # the status; a refusal without an error of its own is raised here
        if answer is None or answer.WhichOneof("message") != "opened":
            raise errors.InternalError("the loader did not answer with opened: is it a loader.v1 service?")
        return messages.to_opened(answer.opened)

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
            if _is_task_cancelled():
                raise
            return False
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
                if _is_task_cancelled():
                    raise
                raise self._failure from None
        return answer

    def _explained(self, failure: grpc.aio.AioRpcError) -> errors.LoaderError:
        """A write that failed leaves INTERNAL in place of the status."""
        if not (failure.details() or "").startswith(FAILED_WRITE):
            return from_rpc(failure, self.address)
        if self._call.time_remaining() == 0:
            return errors.DeadlineExceededError(f"the session has not ended within {self._timeout_s} s")
        return ConnectionFailedError(
            f"the session broke while a frame was written (loader at {self.address})"
        )

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


@contextmanager
def _errors_of_cancels() -> Iterator[None]:
    """What close() cancels is told as an error."""
    try:
        yield
    except asyncio.CancelledError:
        if _is_task_cancelled():
            raise
        raise errors.CancelledError("this call was cancelled by its own client, which is closed") from None


def _is_task_cancelled() -> bool:
    """The task, and not a call that it waits for: gRPC says both with the same exception."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _has_failed(feeding: asyncio.Task[None]) -> bool:
    return feeding.done() and not feeding.cancelled() and feeding.exception() is not None


async def _each(frames: Iterable[Items] | AsyncIterable[Items]) -> AsyncIterator[Items]:
    if isinstance(frames, AsyncIterable):
        async for frame in frames:
            yield frame
    else:
        for frame in frames:
            yield frame

"""What the tests hold in their hands: the server process, the messages, one client face for
grpcio's two APIs. Knows no test case."""

from __future__ import annotations

import asyncio
import json
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc  # type: ignore[import-untyped]

HERE = Path(__file__).resolve().parent
WAIT_S = 30.0
Metadata = Sequence[tuple[str, str | bytes]]
T = TypeVar("T")


@dataclass(frozen=True)
class Program:
    path: Path


class Server:
    """A running interop-server and the lines it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ports: list[int] = []
        self.unix_path = ""
        self.lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, program: Program, *args: list[str]) -> Server:
        command = [str(program.path), *(a for group in args for a in group)]
        server = cls(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        server.ports = [int(p) for p in server.wait_line("listening").split()[1:]]
        return server

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def wait_line(self, prefix: str, timeout_s: float = WAIT_S) -> str:
        """The next line that starts with `prefix`; others before it are dropped."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line '{prefix}' from the server") from None
            if line.startswith(prefix):
                return line

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def stats(self) -> dict[str, int]:
        self.process.send_signal(signal.SIGUSR1)
        parsed: dict[str, int] = json.loads(self.wait_line("stats").removeprefix("stats "))
        return parsed

    def wait_stats(self, is_reached: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """Polls the counters until they satisfy the condition; fails after WAIT_S."""
        end = time.monotonic() + WAIT_S
        while not is_reached(stats := self.stats()):
            assert time.monotonic() < end, stats
        return stats

    def rss_bytes(self) -> int:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(x for x in text.splitlines() if x.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def drain(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Ends the process and insists that it was alive and ends cleanly."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert code == 0, f"interop-server ended with {code}"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, t: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class Messages:
    """The classes of grpc.testing, in a descriptor pool of their own."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            pool.Add(file)
        self._pool = pool

    @classmethod
    def compile(cls, folder: Path) -> Messages:
        out = folder / "test.bin"
        proto = HERE / "proto"
        args = ["protoc", f"-I{proto}", f"--descriptor_set_out={out}", "grpc/testing/test.proto"]
        assert protoc.main(args) == 0
        return cls(descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()))

    def __getattr__(self, name: str) -> Any:
        descriptor = self._pool.FindMessageTypeByName(f"grpc.testing.{name}")
        return message_factory.GetMessageClass(descriptor)


@dataclass(frozen=True)
class Outcome:
    code: grpc.StatusCode
    details: str
    initial: dict[str, str | bytes]
    trailing: dict[str, str | bytes]


class StreamCall(Protocol):
    """A call in the hands of a test; every wait is bounded by the call's deadline."""

    def write(self, message: bytes) -> None: ...
    def done_writing(self) -> None: ...
    def read(self) -> bytes | None:
        """The next message, None at the end whatever the status."""

    def cancel(self) -> None: ...
    def outcome(self) -> Outcome: ...


class Client(Protocol):
    def unary(
        self,
        path: str,
        request: bytes,
        metadata: Metadata = (),
        timeout_s: float = WAIT_S,
        gzip: bool = False,
    ) -> tuple[bytes | None, Outcome]: ...

    def stream(
        self, path: str, metadata: Metadata = (), timeout_s: float = WAIT_S, gzip: bool = False
    ) -> StreamCall: ...

    def close(self) -> None: ...


OPTIONS: list[tuple[str, int]] = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
]


def _compression(gzip: bool) -> grpc.Compression | None:
    return grpc.Compression.Gzip if gzip else None


def _outcome(call: Any) -> Outcome:
    return Outcome(call.code(), call.details(), dict(call.initial_metadata()), dict(call.trailing_metadata()))


class _SyncStream:
    def __init__(self, start: Callable[[Iterator[bytes]], Any]) -> None:
        self._requests: queue.Queue[bytes | None] = queue.Queue()
        self._call = start(iter(self._requests.get, None))

    def write(self, message: bytes) -> None:
        self._requests.put(message)

    def done_writing(self) -> None:
        self._requests.put(None)

    def read(self) -> bytes | None:
        try:
            message: bytes = next(self._call)
        except (StopIteration, grpc.RpcError):
            return None
        return message

    def cancel(self) -> None:
        self._call.cancel()
        self._requests.put(None)

    def outcome(self) -> Outcome:
        while self.read() is not None:
            pass
        self._requests.put(None)
        return _outcome(self._call)


class SyncClient:
    """The client face on grpcio's blocking API."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        every = [*OPTIONS, *options]
        self.channel = (
            grpc.insecure_channel(target, every)
            if credentials is None
            else grpc.secure_channel(target, credentials, every)
        )

    def unary(
        self,
        path: str,
        request: bytes,
        metadata: Metadata = (),
        timeout_s: float = WAIT_S,
        gzip: bool = False,
    ) -> tuple[bytes | None, Outcome]:
        method = self.channel.unary_unary(path)
        try:
            reply, call = method.with_call(
                request, timeout=timeout_s, metadata=metadata, compression=_compression(gzip)
            )
        except grpc.RpcError as error:
            return None, _outcome(error)
        return reply, _outcome(call)

    def stream(
        self, path: str, metadata: Metadata = (), timeout_s: float = WAIT_S, gzip: bool = False
    ) -> StreamCall:
        method = self.channel.stream_stream(path)
        return _SyncStream(
            lambda requests: method(
                requests, timeout=timeout_s, metadata=metadata, compression=_compression(gzip)
            )
        )

    def close(self) -> None:
        self.channel.close()


class _AioStream:
    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], call: Any) -> None:
        self._run = run
        self._call = call

    def write(self, message: bytes) -> None:
        self._run(self._attempt(self._call.write(message)))

    def done_writing(self) -> None:
        self._run(self._attempt(self._call.done_writing()))

    @staticmethod
    async def _attempt(work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
            return grpc.aio.EOF

    def read(self) -> bytes | None:
        message = self._run(self._attempt(self._call.read()))
        return None if message is grpc.aio.EOF else message

    def cancel(self) -> None:
        self._call.cancel()

    def outcome(self) -> Outcome:
        async def collect() -> Outcome:
            code = await self._call.code()
            try:
                initial = dict(await self._call.initial_metadata())
            except (grpc.RpcError, asyncio.CancelledError):
                initial = {}
            trailing = dict(await self._call.trailing_metadata() or ())
            return Outcome(code, await self._call.details() or "", initial, trailing)

        while self.read() is not None:
            pass
        result: Outcome = self._run(collect())
        return result


class AioClient:
    """The client face on grpc.aio, with an event loop that runs only while a test waits."""

    def __init__(
        self,
        target: str,
        credentials: grpc.ChannelCredentials | None,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self._loop = asyncio.new_event_loop()
        every = [*OPTIONS, *options]

        async def connect() -> grpc.aio.Channel:
            if credentials is None:
                return grpc.aio.insecure_channel(target, every)
            return grpc.aio.secure_channel(target, credentials, every)

        self.channel = self._run(connect())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(work, WAIT_S * 2))

    def unary(
        self,
        path: str,
        request: bytes,
        metadata: Metadata = (),
        timeout_s: float = WAIT_S,
        gzip: bool = False,
    ) -> tuple[bytes | None, Outcome]:
        async def work() -> tuple[bytes | None, Outcome]:
            call = self.channel.unary_unary(path)(
                request,
                timeout=timeout_s,
                metadata=tuple(metadata),
                compression=_compression(gzip),
            )
            try:
                reply: bytes | None = await call
            except grpc.RpcError:
                reply = None
            initial = dict(await call.initial_metadata() or ())
            trailing = dict(await call.trailing_metadata() or ())
            return reply, Outcome(await call.code(), await call.details() or "", initial, trailing)

        return self._run(work())

    def stream(
        self, path: str, metadata: Metadata = (), timeout_s: float = WAIT_S, gzip: bool = False
    ) -> StreamCall:
        async def work() -> Any:
            return self.channel.stream_stream(path)(
                timeout=timeout_s, metadata=tuple(metadata), compression=_compression(gzip)
            )

        return _AioStream(self._run, self._run(work()))

    def close(self) -> None:
        self._run(self.channel.close())
        self._loop.close()

"""The loader's side of a channel, in Python, for tests of a host process without a loader.

Speaks cpp/channel/record.h and bodies.h on its own; frames are libprotobuf's. Knows no sessions: a
test sends records and waits for records.
"""

from __future__ import annotations

import array
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

import loader
from loader.v1 import frame_pb2

HELLO, INIT, CREATE, WRITE, END, EXEC, CANCEL, DESTROY, CREDIT, RELEASE, PING, HEALTH, UPDATE, FINI = range(
    1, 15
)
READY, COMPLETION, RESULT, PONG, LOG, METER, TRACE, HUNG = range(64, 72)
OF_INIT, OF_CREATE, OF_WRITE, OF_END, OF_EXEC, OF_UPDATE, OF_HEALTH, OF_DESTROY = range(1, 9)
MAGIC, PROTOCOL = 0x3143444C, 2
ARENA_BYTES = 32 << 20
IN_ARENA, IN_MEMFD = 1, 2
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
SEAL_FUTURE_WRITE = 0x10
NO_DEADLINE = (1 << 63) - 1
CLOSE_CLIENT_GONE = 3
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Record:
    """One record from the host, its payloads copied."""

    kind: int
    handle: int
    body: bytes
    payloads: list[bytes]


@dataclass(frozen=True, slots=True)
class Completion:
    """How one operation ended."""

    operation: int
    status: int
    message: str


@dataclass(slots=True)
class Wait:
    """Everything that came until what was waited for."""

    results: list[dict[str, bytes]] = field(default_factory=list)
    completion: Completion | None = None


class HostGone(Exception):  # noqa: N818
    """The host closed the channel."""


def text(value: str) -> bytes:
    """A text of a body."""
    encoded = value.encode()
    return struct.pack("<I", len(encoded)) + encoded


def pairs(values: Mapping[str, str]) -> bytes:
    """Pairs of a body."""
    return struct.pack("<I", len(values)) + b"".join(text(k) + text(v) for k, v in values.items())


def frame(items: Mapping[str, bytes | str], seq: int = 0) -> bytes:
    """A frame as the loader sends it."""
    message = frame_pb2.Frame(seq=seq)
    for key, value in items.items():
        is_text = isinstance(value, str)
        data = value.encode() if isinstance(value, str) else value
        message.items.add(key=key, type=2 if is_text else 1, data=data)
    return message.SerializeToString()


def large_frame(key: str) -> bytes:
    """A frame of one item whose payload is the record's first reference."""
    item = frame_pb2.Item(key=key, type=1).SerializeToString() + bytes([15 << 3, 1])
    return bytes([2 << 3 | 2, len(item)]) + item


def opening(parameters: Mapping[str, Any], records: int, window: int, deadline_ns: int) -> bytes:
    """The body of create, and the front of exec's."""
    encoded = {name: json.dumps(value) for name, value in parameters.items()}
    return text("s-1") + struct.pack("<qIQ", deadline_ns, records, window) + pairs(encoded) + pairs({})


def make_arena(seals: int) -> int:
    """A sealed memory file."""
    descriptor = os.memfd_create("arena", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(descriptor, ARENA_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


class Peer:
    """One host process and its one channel."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        arena_in, arena_out = make_arena(SEALS | SEAL_FUTURE_WRITE), make_arena(SEALS)
        self._arena = mmap.mmap(arena_out, ARENA_BYTES, prot=mmap.PROT_READ)
        lifeline, self._lifeline = os.pipe()
        passed = (theirs.fileno(), arena_in, arena_out, lifeline)
        channel = ",".join(map(str, passed[:3]))
        arguments = ["--channel", channel, "--lifeline", str(lifeline), "wrapper.py"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *arguments], pass_fds=passed, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=True,
            )  # fmt: skip
        theirs.close()
        for descriptor in (arena_in, arena_out, lifeline):
            os.close(descriptor)
        self._received = bytearray()
        self._files: list[int] = []
        self.logs: list[str] = []
        self.meters: list[tuple[float, str]] = []
        self.is_granting = True

    def send(self, kind: int, handle: int, body: bytes = b"", memfd: bytes | None = None) -> None:
        """Sends one record; `memfd` travels as its payload, in a memory file."""
        references = b"" if memfd is None else struct.pack("<IIQQ", IN_MEMFD, 0, 0, len(memfd))
        # 24 bytes: u32 kind, u32 block, u64 offset, u64 size.
        size = 16 + len(references) + len(body)
        record = struct.pack("<IHHQ", size, kind, bool(references), handle) + references + body
        if memfd is None:
            self._socket.sendall(record)
            return
        descriptor = os.memfd_create("payload", os.MFD_ALLOW_SEALING)
        os.write(descriptor, memfd)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS | fcntl.F_SEAL_WRITE)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        sent = self._socket.sendmsg([record], ancillary)
        self._socket.sendall(record[sent:])
        os.close(descriptor)

    def receive(self, until_s: float) -> Record:
        """The next record. Raises: TimeoutError, HostGone."""
        while True:
            if len(self._received) >= 4:
                (size,) = struct.unpack_from("<I", self._received)
                if len(self._received) >= size:
                    return self._cut(size)
            self._fill(until_s)

    def _fill(self, until_s: float) -> None:
        left_s = until_s - time.monotonic()
        ready, _, _ = select.select([self._socket], [], [], max(left_s, 0))
        if not ready:
            raise TimeoutError("the host sent nothing")
        try:
            data, ancillary, _, _ = self._socket.recvmsg(1 << 16, socket.CMSG_SPACE(64 * 4))
        except ConnectionResetError:
            raise HostGone from None
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i")
                descriptors.frombytes(content)
                self._files.extend(descriptors)
        if not data:
            raise HostGone
        self._received += data

    def _cut(self, size: int) -> Record:
        record = bytes(self._received[:size])
        del self._received[:size]
        _, kind, count, handle = struct.unpack_from("<IHHQ", record)
        payloads: list[bytes] = []
        blocks: list[int] = []
        for number in range(count):
            where, block, offset, length = struct.unpack_from("<IIQQ", record, 16 + 24 * number)
            if where == IN_ARENA:
                payloads.append(self._arena[offset : offset + length])
                blocks.append(block)
            else:
                descriptor = self._files.pop(0)
                payloads.append(os.pread(descriptor, length, 0))
                os.close(descriptor)
        if blocks:
            self.send(RELEASE, 0, struct.pack(f"<{len(blocks)}I", *blocks))
        return Record(kind, handle, record[16 + 24 * count :], payloads)

    def wait_for(self, operation: int, handle: int = 0, timeout_s: float = TIMEOUT_S) -> Wait:
        """Reads until that operation of that handle has completed."""
        wait = self.read_until(
            lambda wait, record: (
                record.handle == handle
                and wait.completion is not None
                and wait.completion.operation == operation
            ),
            timeout_s,
        )
        assert wait.completion is not None
        return wait

    def wait_for_results(self, count: int, timeout_s: float = TIMEOUT_S) -> list[dict[str, bytes]]:
        """Reads until that many results have come."""
        return self.read_until(lambda wait, _: len(wait.results) >= count, timeout_s).results

    def read_until(self, is_done: Callable[[Wait, Record], bool], timeout_s: float = TIMEOUT_S) -> Wait:
        """Reads records, granting credit for results, until `is_done`."""
        wait = Wait()
        until_s = time.monotonic() + timeout_s
        while True:
            record = self.receive(until_s)
            self._note(record, wait)
            if is_done(wait, record):
                return wait

    def _note(self, record: Record, wait: Wait) -> None:
        if record.kind == RESULT:
            wait.results.append(read_frame(record))
            if self.is_granting:
                size = len(record.body) + sum(map(len, record.payloads))
                self.grant(record.handle, 1, size)
        elif record.kind == COMPLETION:
            operation, _, _, status = struct.unpack_from("<BBHi", record.body)
            wait.completion = Completion(operation, status, record.body[8:].decode())
        elif record.kind == LOG:
            self.logs.append(record.body[8:].decode())
        elif record.kind == METER:
            (amount,) = struct.unpack_from("<d", record.body)
            self.meters.append((amount, record.body[12:].decode()))

    def grant(self, handle: int, records: int, size: int) -> None:
        """Gives credit for results."""
        self.send(CREDIT, handle, struct.pack("<IQ", records, size))

    def hello(self, version: str = loader.__version__) -> None:
        """Exchanges hellos."""
        numbers = (MAGIC, PROTOCOL, 1, 0, 0, 1, os.getpid(), 0)
        self.send(HELLO, 0, struct.pack("<8I", *numbers) + text(version) + text("loader"))

    def init(
        self, directory: Path, config: Mapping[str, Any], threads: int, entry: str = "wrapper.py"
    ) -> Completion:
        """Starts the engine."""
        texts = b"".join(map(text, ("test", "1", str(directory), entry, json.dumps(config))))
        self.send(INIT, 0, texts + struct.pack("<IIIq", 64, threads, 100, NO_DEADLINE) + pairs({}))
        completion = self.wait_for(OF_INIT).completion
        assert completion is not None
        return completion

    def exec(self, handle: int, items: Mapping[str, bytes | str], **parameters: Any) -> None:
        """Begins a one-shot call."""
        self.send(EXEC, handle, opening(parameters, 256, 1 << 16, NO_DEADLINE) + frame(items))

    def exec_large(self, handle: int, key: str, payload: bytes) -> None:
        """The same, with one payload in a memory file."""
        self.send(EXEC, handle, opening({}, 256, 1 << 16, NO_DEADLINE) + large_frame(key), payload)

    def create(
        self, handle: int, *, records: int = 256, window: int = 1 << 16, **parameters: Any
    ) -> Completion:
        """Opens a session."""
        self.send(CREATE, handle, opening(parameters, records, window, NO_DEADLINE))
        completion = self.wait_for(OF_CREATE, handle).completion
        assert completion is not None
        return completion

    def write(self, handle: int, items: Mapping[str, bytes | str], seq: int = 1) -> None:
        """Sends one frame."""
        self.send(WRITE, handle, frame(items, seq))

    def destroy(self, handle: int, reason: int = 1) -> None:
        """Closes a session and waits for it."""
        self.send(DESTROY, handle, struct.pack("<i", reason))
        self.wait_for(OF_DESTROY, handle)

    def stop(self) -> int:
        """FINI, and the exit code."""
        self.send(FINI, 0, struct.pack("<i", 9))
        return self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        """Kills what is left of the host and its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(TIMEOUT_S)
        self._socket.close()
        self._arena.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
        for descriptor in self._files:
            os.close(descriptor)

    def drop_lifeline(self) -> None:
        """What the host sees when the loader dies."""
        os.close(self._lifeline)
        self._lifeline = -1


def read_frame(record: Record) -> dict[str, bytes]:
    """Key to payload."""
    message = frame_pb2.Frame.FromString(record.body)
    found: dict[str, bytes] = {}
    for item in message.items:
        references = [one.data for one in UnknownFieldSet(item) if one.field_number == 15]
        found[item.key] = record.payloads[references[0] - 1] if references else item.data
    return found


@contextmanager
def started(
    folder: Path, log: Path, config: Mapping[str, Any] | None = None, threads: int = 1
) -> Iterator[Peer]:
    """A host that has loaded the wrapper in `folder`."""
    peer = Peer([sys.executable, "-P", "-m", "loader.host"], log)
    try:
        peer.hello()
        completion = peer.init(folder, config or {}, threads)
        assert completion.status == 0, completion.message
        yield peer
    finally:
        peer.close()

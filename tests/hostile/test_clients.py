"""Clients that break the protocol, or read and write so slowly that somebody must hold their data."""

from __future__ import annotations

import queue
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from running import Running, until
from scene import HANGING, KIND, LIMIT_S, Scene, assert_nothing_left, hostile, running_marked
from stalled import PREFACE, StalledClient, h2, header_block

from loader.client import Client, ClientSession
from loader.client.failures import DETAILS_KEY, from_details, from_rpc
from loader.v1 import frame_pb2, loader_pb2
from loader.v1.loader_pb2 import Open, SessionRequest, Target

MEGABYTE = 1 << 20
SESSION = "/loader.v1.LoaderService/Session"
STALLED = 20
MANY = 1000
# 64 window, 64 credit, 32 overhead; and holes in the heap, since all of them come at once here.
KIB_EACH = 200

OPEN = SessionRequest(open=Open(target=Target(engine="kind")))
END = SessionRequest(end=loader_pb2.End())


def frame(**item: Any) -> SessionRequest:
    """A frame of one item."""
    return SessionRequest(frame=frame_pb2.Frame(items=[frame_pb2.Item(**({"key": "x"} | item))]))


def unknown_engine() -> SessionRequest:
    """An open for an engine that is not there."""
    return SessionRequest(open=Open(target=Target(engine="nobody")))


TENSOR = frame_pb2.ITEM_TYPE_TENSOR
MISUSES: dict[str, tuple[list[SessionRequest | bytes], str]] = {
    "frame before open": ([frame(data=b"x")], "PROTOCOL_VIOLATION"),
    "end before open": ([END], "PROTOCOL_VIOLATION"),
    "two opens": ([OPEN, OPEN], "PROTOCOL_VIOLATION"),
    "unknown engine": ([unknown_engine()], "UNKNOWN_ENGINE"),
    "no engine": ([SessionRequest(open=Open())], "INVALID_ARGUMENT"),
    "a key that is not UTF-8": ([OPEN, b"\x12\x06\x12\x04\x0a\x02\xff\xfe"], "INVALID_ARGUMENT"),
    "item type": ([OPEN, frame(type=99, data=b"x")], "INVALID_ARGUMENT"),
    "tensor without type": ([OPEN, frame(type=TENSOR, shape=[4], data=b"1234")], "INVALID_ARGUMENT"),
    "tensor of another size": (
        [OPEN, frame(type=TENSOR, data_type=frame_pb2.DATA_TYPE_FP32, shape=[4], data=b"1234")],
        "INVALID_ARGUMENT",
    ),
    "bytes that are no message": ([b"\xff\xff\xff\xff\xff"], "INVALID_ARGUMENT"),
    "bytes that are no message, after open": ([OPEN, b"\x12\xff\x01"], "INVALID_ARGUMENT"),
    "a message over the limit": ([OPEN, frame(data=bytes(5 * MEGABYTE))], "MESSAGE_TOO_LARGE"),
}


def encode(message: Any) -> bytes:
    """The wire form; bytes go as they are."""
    return message if isinstance(message, bytes) else bytes(message.SerializeToString())


def say(running: Running, requests: list[Any]) -> str:
    """The error's name in the details of the status, and in final before it; the sending side stays open."""
    outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for request in requests:
        outgoing.put(request)
    call = running.channel.stream_stream(SESSION, request_serializer=encode)(
        iter(outgoing.get, None), timeout=LIMIT_S
    )
    received: list[bytes] = []
    try:
        with pytest.raises(grpc.RpcError) as caught:
            received.extend(iter(lambda: next(call), None))
    finally:
        outgoing.put(None)
    name = name_on_the_wire(caught.value)
    assert loader_pb2.SessionResponse.FromString(received[-1]).final.error.name == name
    return name


def name_on_the_wire(failure: Any) -> str:
    """By the details alone: a client would guess a name from the status without them."""
    details = dict(failure.trailing_metadata() or ()).get(DETAILS_KEY)
    assert details is not None, f"no details: {failure}"
    error = from_details(details)
    assert error is not None
    return error.name


@pytest.fixture(scope="module")
def innocent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A loader that stays; at its end nothing may be in use."""
    folder = tmp_path_factory.mktemp("clients")
    with running_marked(folder, {"engines": {"kind": KIND}}) as (running, mark):
        with Client(running.ready["grpc"]) as client:
            scene = Scene.beside(running, client, mark)
            yield running
            scene.witness.beat()
            scene.witness.end()
            assert running.instance("kind").restarts == 0
            until(lambda: not scene.in_use(), "nothing is in use", LIMIT_S)
        running.process.terminate()
        assert running.process.wait(LIMIT_S) == 0
        assert_nothing_left(mark)


@pytest.mark.parametrize("misuse", list(MISUSES))
def test_misuse_ends_only_its_own_session(innocent: Running, misuse: str) -> None:
    """With the documented error."""
    requests, name = MISUSES[misuse]
    assert say(innocent, requests) == name
    assert innocent.echo("kind") == "hello"


def test_a_frame_after_end_is_a_violation(tmp_path: Path) -> None:
    """While the engine still works on the end; later there is no session that could be violated."""
    with hostile(tmp_path, "never_finish", "end", **HANGING) as scene:
        opening = SessionRequest(open=Open(target=Target(engine="mean")))
        assert say(scene.running, [opening, END, frame(data=b"x")]) == "PROTOCOL_VIOLATION"


def test_a_message_without_content_is_ignored(innocent: Running) -> None:
    """It may be one of a later version."""
    call = innocent.engine.Session(iter([OPEN, SessionRequest(), frame(data=b"x"), END]), timeout=LIMIT_S)
    *_, last = call
    assert last.final.reason == loader_pb2.CLOSE_REASON_FINISHED
    assert last.final.statistics.frames_in == 1


def test_no_message_at_all_is_a_violation(innocent: Running) -> None:
    """A session that is closed before it was opened."""
    with pytest.raises(grpc.RpcError) as caught:
        list(innocent.engine.Session(iter([]), timeout=LIMIT_S))
    assert from_rpc(caught.value, "").name == "PROTOCOL_VIOLATION"


def assert_closed(raw: socket.socket) -> None:
    """The peer ends the connection, with or without a last word."""
    with suppress(ConnectionError):
        while raw.recv(65536):
            pass


NO_HTTP = [b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 64, PREFACE + b"\xff" * 64]


@pytest.mark.parametrize("garbage", NO_HTTP, ids=["http/1.1", "binary", "frames"])
def test_bytes_that_are_no_http_close_only_their_connection(innocent: Running, garbage: bytes) -> None:
    """And nobody else's."""
    with socket.create_connection(address_of(innocent), timeout=LIMIT_S) as raw:
        raw.sendall(garbage)
        assert_closed(raw)
    assert innocent.echo("kind") == "hello"


def address_of(running: Running) -> tuple[str, int]:
    """Where its gRPC port is."""
    host, port = running.ready["grpc"].rsplit(":", 1)
    return host, int(port)


def rss(running: Running) -> int:
    """Resident memory of the loader and its hosts."""
    family = [psutil.Process(running.process.pid), *running.hosts()]
    return sum(process.memory_info().rss for process in family)


def test_readers_that_never_read_cost_bounded_memory(tmp_path: Path) -> None:
    """An engine that floods twenty sessions nobody reads is held by their credit."""
    with hostile(tmp_path, "flood", "write", slots=STALLED, threads=STALLED, call_timeout_ms=60_000) as scene:
        before = rss(scene.running)
        sessions = [scene.client.session("mean", timeout_s=60) for _ in range(STALLED)]
        for session in sessions:
            session.__enter__()
            session.write({"trigger": "x"})
        still = Still(scene)
        until(still.has_settled, "the flood stands still", LIMIT_S)
        assert rss(scene.running) - before < STALLED * MEGABYTE
        scene.witness.beat()
        for session in sessions:
            session.cancel()
            session.__exit__(None, None, None)


def pss(running: Running) -> int:
    """Resident memory of the loader and its hosts, shared pages counted once."""
    family = [psutil.Process(running.process.pid), *running.hosts()]
    return sum(int(process.memory_full_info().pss) for process in family)


def test_a_thousand_stalled_sessions_cost_bounded_memory(tmp_path: Path) -> None:
    """They write 1 KiB frames as long as they may and read nothing; one beside them notices nothing."""
    engines = {"kind": KIND | {"slots": MANY + 2}}
    with (
        running_marked(tmp_path, {"engines": engines}) as (running, mark),
        Client(running.ready["grpc"]) as client,
    ):
        scene = Scene.beside(running, client, mark)
        before = pss(running)
        then = encode(frame(data=bytes(1024)))
        stalled = StalledClient(address_of(running), SESSION, MANY, first=encode(OPEN), then=then)
        try:
            stalled.run_until_still(quiet_s=1.0, limit_s=3 * LIMIT_S)
            assert min(stalled.sent_bytes) > 2 * 65536, "each has filled its window and its engine's credit"
            kib_each = (pss(running) - before) / 1024 / MANY
            assert kib_each < KIB_EACH
            scene.witness.beat()
        finally:
            stalled.close()
        scene.witness.beat()
        scene.witness.end()
        until(lambda: not scene.in_use(), "nothing is in use", LIMIT_S)


class Still:
    """Whether a counter has stopped: the same value five times running."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._last = -1.0
        self._same = 0

    def has_settled(self) -> bool:
        count = self._scene.count("frames_out")
        self._same = self._same + 1 if count == self._last and count > 0 else 0
        self._last = count
        self._scene.witness.beat()
        return self._same >= 5


def write_until_held(session: ClientSession) -> int:
    """The bytes that went before a write had to wait for a second."""
    chunk = bytes(16 << 10)
    for count in range(2000):
        try:
            session.write({"x": chunk}, timeout_s=1)
        except TimeoutError:
            return count * len(chunk)
    raise AssertionError("the writer was never held")


def test_a_writer_to_an_engine_that_stands_is_held(tmp_path: Path) -> None:
    """What it may send is bounded by the session's window; the rest waits on its own side."""
    with hostile(tmp_path, "ignore_cancel", "write", call_timeout_ms=60_000, destroy_timeout_ms=500) as scene:
        session = scene.client.session("mean", timeout_s=60)
        session.__enter__()
        session.write({"trigger": "x"})
        before = rss(scene.running)
        assert write_until_held(session) < 2 * MEGABYTE
        assert rss(scene.running) - before < 4 * MEGABYTE
        scene.witness.beat()
        psutil.Process(scene.first_pid).kill()
        session.__exit__(None, None, None)


def test_half_messages_cost_at_most_what_was_sent(innocent: Running) -> None:
    """Twenty calls announce 4 MiB each and send 64 KiB: nobody reserves what was only announced."""
    before = rss(innocent)
    raws = [socket.create_connection(address_of(innocent), timeout=LIMIT_S) for _ in range(STALLED)]
    try:
        for raw in raws:
            raw.sendall(PREFACE + h2(4, 0, 0, b"") + h2(1, 4, 1, header_block(SESSION)))
            raw.sendall(h2(0, 0, 1, struct.pack(">BI", 0, 4 * MEGABYTE - 1)))
            for _ in range(3):
                raw.sendall(h2(0, 0, 1, bytes(16_000)))
        assert innocent.echo("kind") == "hello"
        assert rss(innocent) - before < STALLED * MEGABYTE
    finally:
        for raw in raws:
            raw.close()
    assert innocent.echo("kind") == "hello"

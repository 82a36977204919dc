"""Calls that the gRPC library itself ends, on raw frames: final, status and details are all on the wire."""

from __future__ import annotations

import base64
import gzip
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from calls import ErrorInfo, RpcStatus, opening, sending

from loader.v1 import loader_pb2

sys.path.insert(0, str(Path(__file__).parents[2] / "interop"))

from raw_client import RawClient, Reply, framed, request

SESSION = "/loader.v1.LoaderService/Session"
OPEN = framed(opening().SerializeToString())


@pytest.fixture
def raw(plane: Any) -> Iterator[RawClient]:
    plane.add_echo(slots=64)
    with RawClient(int(plane.address.rsplit(":", 1)[1])) as client:
        yield client


def info(reply: Reply) -> Any:
    """The ErrorInfo of the status, whose code and text must be those of the trailers."""
    trailers = reply.headers if reply.is_trailers_only else reply.trailers
    encoded = trailers["grpc-status-details-bin"]
    status = RpcStatus.FromString(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    assert str(status.code) == reply.status
    found = [d for d in status.details if d.type_url == "type.googleapis.com/google.rpc.ErrorInfo"]
    assert len(found) == 1
    return ErrorInfo.FromString(found[0].value)


def messages(reply: Reply) -> list[loader_pb2.SessionResponse]:
    out, body = [], reply.body
    while body:
        (size,) = struct.unpack_from(">xI", body)
        out.append(loader_pb2.SessionResponse.FromString(body[5 : 5 + size]))
        body = body[5 + size :]
    return out


def assert_final(reply: Reply, name: str, reason: int) -> None:
    """The last message is the only final, and says what the status says."""
    kinds = [m.WhichOneof("message") for m in messages(reply)]
    assert kinds.count("final") == 1
    final = messages(reply)[-1].final
    assert (final.error.name, final.reason) == (name, reason)
    assert info(reply).reason == name


BROKEN = {
    "flag": (framed(b"", 7), "PROTOCOL_VIOLATION", "9"),
    "over_the_limit": (struct.pack(">BI", 0, (4 << 20) + 1), "MESSAGE_TOO_LARGE", "8"),
    "not_gzip": (framed(b"no gzip", 1), "PROTOCOL_VIOLATION", "9"),
    "gzip_bomb": (framed(gzip.compress(bytes(5 << 20)), 1), "MESSAGE_TOO_LARGE", "8"),
}


@pytest.mark.parametrize("broken", list(BROKEN))
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "new"])
def test_broken_messages_end_a_session_with_final(raw: RawClient, broken: str, is_open: bool) -> None:
    """Whether it was open already or not."""
    body, name, status = BROKEN[broken]
    raw.headers(1, request(SESSION, grpc_encoding="gzip"))
    if is_open:
        raw.data(1, OPEN)
        raw.data(1, framed(sending(b"x").SerializeToString()))
    raw.data(1, body)
    reply = raw.reply(1)
    assert reply.status == status
    reasons = {"MESSAGE_TOO_LARGE": loader_pb2.CLOSE_REASON_REFUSED}
    refused = reasons.get(name, loader_pb2.CLOSE_REASON_PROTOCOL)
    assert_final(reply, name, loader_pb2.CLOSE_REASON_PROTOCOL if is_open else refused)


def test_a_request_cut_in_a_message_ends_a_session_with_final(raw: RawClient) -> None:
    """END_STREAM inside a message."""
    raw.headers(1, request(SESSION))
    raw.data(1, OPEN + OPEN[:-1], end=True)
    assert_final(raw.reply(1), "PROTOCOL_VIOLATION", loader_pb2.CLOSE_REASON_PROTOCOL)


def test_every_deadline_brings_final_and_details(raw: RawClient) -> None:
    """Two clocks watch it, the core's and the library's: whichever is first, the end is the same."""
    streams = range(1, 81, 2)
    for stream in streams:
        raw.headers(stream, request(SESSION, grpc_timeout=f"{1000 + stream}m"))
        raw.data(stream, OPEN)
    replies = {stream: Reply() for stream in streams}
    for stream in streams:
        replies[stream] = collect(raw, replies, stream)
    for reply in replies.values():
        assert reply.status == "4"
        assert_final(reply, "DEADLINE_EXCEEDED", loader_pb2.CLOSE_REASON_DEADLINE)


def collect(raw: RawClient, replies: dict[int, Reply], stream: int) -> Reply:
    """Reads until this stream has ended, noting what comes for the others on the way."""
    while not replies[stream].is_ended:
        frame = raw.until(lambda f: f.stream in replies)
        reply = replies[frame.stream]
        if frame.type == 0:
            reply.body += frame.payload
        elif frame.type == 1 and not reply.headers:
            reply.headers = frame.headers
        elif frame.type == 1:
            reply.trailers = frame.headers
        reply.is_ended = reply.is_ended or (frame.type == 1 and bool(frame.flags & 1))
    return replies[stream]


REFUSED = {
    "unknown_service": (request("/nope.Nope/X"), "12", "UNSUPPORTED"),
    "unknown_method": (request("/loader.v1.LoaderService/Nope"), "12", "UNSUPPORTED"),
    "bad_timeout": (request(SESSION, grpc_timeout="soon"), "13", "PROTOCOL_VIOLATION"),
    "header_list_too_large": (request(SESSION, x_a="v" * 8050, x_b="v" * 8050), "8", "MESSAGE_TOO_LARGE"),
    "unknown_encoding": (request(SESSION, grpc_encoding="snappy"), "12", "UNSUPPORTED"),
    "expired": (request(SESSION, grpc_timeout="0n"), "4", "DEADLINE_EXCEEDED"),
}


@pytest.mark.parametrize("refused", list(REFUSED))
def test_what_never_becomes_a_call_carries_details(raw: RawClient, refused: str) -> None:
    """The library's own status, with an ErrorInfo by its code."""
    headers, status, name = REFUSED[refused]
    raw.headers(1, headers)
    reply = raw.reply(1)
    assert (reply.is_trailers_only, reply.status) == (True, status)
    assert (info(reply).reason, info(reply).domain) == (name, "engine-loader")


@pytest.mark.parametrize("method", ["Exec", "ExecStream"])
def test_a_broken_exec_carries_details(raw: RawClient, method: str) -> None:
    """Exec has no final; the status says it all."""
    raw.headers(1, request(f"/loader.v1.LoaderService/{method}"))
    raw.data(1, framed(b"", 7))
    assert info(raw.reply(1)).reason == "PROTOCOL_VIOLATION"


def test_another_loader_is_kept_off_the_port(plane: Any, plane_with: Callable[..., Any]) -> None:
    """Its shards share it; a second loader would take half of the connections."""
    other = plane_with()
    with pytest.raises(RuntimeError, match="Address already in use"):
        other.core.listen(plane.address, "public", None)

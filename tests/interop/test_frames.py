"""Every rule of request validation, flow control and limits, by raw HTTP/2 frames."""

from __future__ import annotations

import gzip
import socket
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
from interop_harness import Server
from raw_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    MAGIC,
    PADDED,
    PING,
    PRIORITY,
    PUSH,
    REQUEST,
    RST,
    SETTINGS,
    WINDOW,
    Header,
    RawClient,
    frame_bytes,
    framed,
    request,
)

NO_ERROR, PROTOCOL, INTERNAL, FLOW, TIMEOUT, CLOSED, FRAME_SIZE, REFUSED, CANCEL = range(9)
COMPRESSION, CALM = 9, 11
STREAM = "/bench.Echo/Stream"
Start = Callable[..., Server]


@pytest.fixture
def raw(shared_server: Server) -> Iterator[RawClient]:
    with RawClient(shared_server.ports[0]) as client:
        yield client


@pytest.fixture
def connect(start_server: Start) -> Iterator[Callable[..., RawClient]]:
    """Starts a server with the given settings and connects to it."""
    clients: list[RawClient] = []

    def make(*settings: str, hello: bool = True) -> RawClient:
        server = start_server(*(x for s in settings for x in ("--set", s)))
        clients.append(RawClient(server.port, hello=hello))
        return clients[-1]

    yield make
    for client in clients:
        client.socket.close()


# ---------------------------------------------------------------- connection


def expect_goaway(raw: RawClient, code: int) -> None:
    assert raw.goaway().error_code == code
    raw.wait_closed()


def test_a_plain_call_works(raw: RawClient) -> None:
    """The baseline of every test below."""
    reply = raw.call(body=framed(b"hello"))
    assert reply.headers[":status"] == "200"
    assert reply.headers["content-type"] == "application/grpc"
    assert reply.headers["grpc-accept-encoding"] == "identity,deflate,gzip"
    assert (reply.body, reply.status, reply.reset) == (framed(b"hello"), "0", None)
    assert "grpc-message" not in reply.trailers


def test_what_nobody_foresaw_ends_only_its_connection(connect: Callable[..., RawClient]) -> None:
    """An exception outside of handlers: the connection closes, its calls are cancelled, the others go on."""
    thrower = connect()
    port = thrower.socket.getpeername()[1]
    with RawClient(port) as other:
        thrower.headers(1, request(STREAM))
        other.headers(1, request(STREAM))
        thrower.ping_pong()
        other.ping_pong()
        thrower.headers(3, [*request(), ("x-throw", "1")])
        thrower.wait_closed()
        other.data(1, framed(b"still here"), end=True)
        reply = other.reply(1)
        assert (reply.body, reply.status) == (framed(b"still here"), "0")
    with RawClient(port) as later:
        assert later.call(body=framed(b"hello")).status == "0"


def test_settings_come_before_anything_is_read(shared_server: Server) -> None:
    """A client waits for SETTINGS before it calls a channel ready."""
    with RawClient(shared_server.ports[0], hello=False) as raw:
        frame = raw.read_frame()
        assert frame is not None
        assert frame.type == SETTINGS
        sent = dict(struct.iter_unpack(">HI", frame.payload))
        assert sent == {3: 1024, 4: 65536, 6: 16384, 9: 1}


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"POST /x HTTP/1.1\r\n\r\n"])
def test_http1_gets_a_400_and_a_close(shared_server: Server, first: bytes) -> None:
    """No upgrade: one line of text and the end."""
    with socket.create_connection(("127.0.0.1", shared_server.ports[0]), 10) as s:
        s.sendall(first)
        got = b""
        while chunk := s.recv(4096):
            got += chunk
    assert b"HTTP/1.1 400 " in got


def test_a_tls_hello_on_a_plain_port_is_closed(shared_server: Server) -> None:
    """Garbage closes the connection without an answer of its own."""
    with socket.create_connection(("127.0.0.1", shared_server.ports[0]), 10) as s:
        s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
        got = b""
        while chunk := s.recv(4096):
            got += chunk
    assert b"HTTP/1.1" not in got


def test_silence_after_accept_is_closed(connect: Callable[..., RawClient]) -> None:
    """No preface in time: close."""
    raw = connect("preface_timeout_ms=100", hello=False)
    raw.is_polite = False
    assert all(f.type in (SETTINGS, WINDOW) for f in raw.wait_closed())


def test_unacknowledged_settings_end_the_connection(connect: Callable[..., RawClient]) -> None:
    """SETTINGS_TIMEOUT."""
    raw = connect("settings_ack_timeout_ms=100")
    raw.is_polite = False
    expect_goaway(raw, TIMEOUT)


def test_an_incomplete_header_block_is_closed(connect: Callable[..., RawClient]) -> None:
    """A header block that never ends closes the connection."""
    raw = connect("header_timeout_ms=100")
    raw.headers(1, flags=0)
    raw.wait_closed()


def test_an_ending_call_does_not_excuse_an_incomplete_header_block(
    connect: Callable[..., RawClient],
) -> None:
    """The clock of a header block runs on while other streams close."""
    raw = connect("header_timeout_ms=400")
    # response_parameters {size: 1, interval_us: 100000}
    body = framed(b"\x12\x06\x08\x01\x10\xa0\x8d\x06")
    raw.headers(1, request("/grpc.testing.TestService/FullDuplexCall"))
    raw.data(1, body, end=True)
    raw.ping_pong()
    raw.headers(3, flags=0)
    assert raw.reply(1, grant=False).status == "0"
    assert raw.wait_closed() == [], "closed without a word: no other rule was broken"


Break = Callable[[RawClient], None]


def bad_index(raw: RawClient) -> None:
    raw.frame(HEADERS, END_HEADERS, 1, b"\xff\xff\x7f")


def frame_in_block(raw: RawClient) -> None:
    raw.headers(1, flags=0)
    raw.frame(PING, 0, 0, bytes(8))


def data_after_end(raw: RawClient) -> None:
    raw.headers(1, request("/bench.Hostile/Hold"))
    raw.data(1, b"", end=True)
    raw.data(1, b"x")


def large_field(raw: RawClient) -> None:
    block = raw.encode([("x", "y" * 70000)])
    flags = 0
    raw.frame(HEADERS, 0, 1, raw.encode(REQUEST))
    while block:
        piece, block = block[:16000], block[16000:]
        flags = END_HEADERS if not block else 0
        raw.frame(CONTINUATION, flags, 1, piece)


def window_overflow(raw: RawClient) -> None:
    raw.window(0, 0x7FFFFFFF)


BROKEN: dict[str, tuple[Break, int]] = {
    "even_stream_id": (lambda r: r.headers(2), PROTOCOL),
    "data_on_idle_stream": (lambda r: r.data(1, b"x"), PROTOCOL),
    "reset_on_idle_stream": (lambda r: r.reset(1), PROTOCOL),
    "data_after_end": (data_after_end, CLOSED),
    "push_promise": (lambda r: r.frame(PUSH, END_HEADERS, 1, bytes(4)), PROTOCOL),
    "frame_too_large": (lambda r: r.frame(DATA, 0, 1, bytes(16385)), FRAME_SIZE),
    "settings_length": (lambda r: r.frame(SETTINGS, 0, 0, bytes(5)), FRAME_SIZE),
    "ping_length": (lambda r: r.frame(PING, 0, 0, bytes(7)), FRAME_SIZE),
    "padding_too_long": (lambda r: r.frame(HEADERS, PADDED | END_HEADERS, 1, b"\xff"), PROTOCOL),
    "frame_in_header_block": (frame_in_block, PROTOCOL),
    "self_dependency": (
        lambda r: r.frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"\0\0\0\1\x10" + r.encode(REQUEST)),
        PROTOCOL,
    ),
    "bad_hpack_index": (bad_index, COMPRESSION),
    "field_above_64k": (large_field, COMPRESSION),
    "window_update_zero": (lambda r: r.window(0, 0), PROTOCOL),
    "connection_window_overflow": (window_overflow, FLOW),
    "too_many_settings_entries": (lambda r: r.settings([(0x99, 1)] * 33), CALM),
    "initial_window_too_large": (lambda r: r.settings([(4, 1 << 31)]), FLOW),
    "max_frame_size_too_small": (lambda r: r.settings([(5, 1)]), PROTOCOL),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_connection_gets_goaway_and_ends(shared_server: Server, name: str) -> None:
    """Connection errors answer GOAWAY with the right code, then close."""
    break_it, code = BROKEN[name]
    with RawClient(shared_server.ports[0]) as raw:
        break_it(raw)
        expect_goaway(raw, code)


def test_magic_without_settings_is_a_protocol_error(shared_server: Server) -> None:
    """The preface ends in a SETTINGS frame."""
    with RawClient(shared_server.ports[0], hello=False) as raw:
        raw.send_bytes(MAGIC + frame_bytes(PING, 0, 0, bytes(8)))
        expect_goaway(raw, PROTOCOL)


def test_too_many_continuations_close(raw: RawClient) -> None:
    """A ninth CONTINUATION is fatal."""
    raw.headers(1, flags=0)
    for _ in range(12):
        raw.frame(CONTINUATION, 0, 1, b"")
    raw.wait_closed()


def test_unknown_frames_and_settings_are_ignored(raw: RawClient) -> None:
    """What is unknown is not an error."""
    raw.frame(0x42, 0xFF, 0, b"whatever")
    raw.frame(0x42, 0, 7, b"")
    raw.settings([(0x9999, 1)])
    raw.frame(PRIORITY, 0, 1, bytes(4) + b"\x10")
    assert raw.call(body=framed(b"x")).status == "0"


@pytest.mark.parametrize(
    "frame",
    [
        frame_bytes(PRIORITY, 0, 3, bytes(4) + b"\x10"),
        frame_bytes(0x42, 0, 0, b"x"),
        frame_bytes(WINDOW, 0, 0, struct.pack(">I", 1)),
        frame_bytes(DATA, 0, 1, b""),
    ],
    ids=["priority", "unknown", "tiny_window_update", "empty_data"],
)
def test_floods_of_idle_frames_end_the_connection(raw: RawClient, frame: bytes) -> None:
    """Frames that do nothing are counted until ENHANCE_YOUR_CALM."""
    raw.headers(1, request(STREAM))
    raw.until(lambda f: f.type == HEADERS)
    raw.send_bytes(frame * 990)
    raw.ping_pong()
    raw.send_bytes(frame * 20)
    expect_goaway(raw, CALM)


def test_settings_floods_end_the_connection(raw: RawClient) -> None:
    """More than ten SETTINGS in a minute are too many."""
    for _ in range(12):
        raw.settings()
    expect_goaway(raw, CALM)


def test_ping_floods_end_the_connection_with_the_agreed_text(raw: RawClient) -> None:
    """Clients look for exactly `too_many_pings`."""
    for _ in range(5):
        raw.frame(PING, 0, 0, bytes(8))
    frame = raw.goaway()
    assert (frame.error_code, frame.payload[8:]) == (CALM, b"too_many_pings")
    raw.wait_closed()


def test_unread_ping_acks_do_not_pile_up(raw: RawClient) -> None:
    """Two thousand PINGs in one burst close the connection."""
    raw.send_bytes(frame_bytes(PING, 0, 0, bytes(8)) * 2000)
    raw.wait_closed()


def test_a_reset_burst_ends_the_connection(raw: RawClient) -> None:
    """Rapid reset: 1,001 in a burst are too many."""
    for i in range(1100):
        raw.headers(2 * i + 1, request(STREAM))
        raw.reset(2 * i + 1)
    assert raw.goaway().error_code in (INTERNAL, CALM)
    raw.wait_closed()


def test_provoked_resets_end_the_connection(raw: RawClient) -> None:
    """MadeYouReset: resets that the client makes us send are counted as its own."""
    for i in range(250):
        stream = 2 * i + 1
        raw.headers(stream, request(STREAM))
        raw.window(stream, 0x7FFFFFFF)
    assert raw.goaway().error_code == CALM
    raw.wait_closed()


def test_cancelled_calls_count_until_their_handlers_end(
    connect: Callable[..., RawClient],
) -> None:
    """A reset does not make room while the work behind the call goes on."""
    raw = connect("max_concurrent_streams=4", "hold_ms=300000")
    for i in range(4):
        raw.headers(2 * i + 1, request("/bench.Hostile/Hold"))
        raw.reset(2 * i + 1)
    raw.headers(9, request("/bench.Hostile/Hold"))
    assert raw.reply(9).status == "8"


# ---------------------------------------------------------------- stream


def without(name: str) -> list[Header]:
    return [(k, v) for k, v in REQUEST if k != name]


BAD_HEADERS: dict[str, list[Header]] = {
    "no_method": without(":method"),
    "no_scheme": without(":scheme"),
    "no_path": without(":path"),
    "no_authority": without(":authority"),
    "empty_path": request(""),
    "path_without_slash": request("bench"),
    "repeated_pseudo": [(":method", "POST"), *REQUEST],
    "unknown_pseudo": [(":what", "x"), *REQUEST],
    "pseudo_after_regular": [*without(":path"), (":path", "/bench.Echo/Unary")],
    "upper_case_name": [*REQUEST, ("X-Upper", "x")],
    "illegal_name_byte": [*REQUEST, ("a b", "x")],
    "illegal_value_byte": [*REQUEST, ("x", "a\nb")],
    "connection": [*REQUEST, ("connection", "close")],
    "keep_alive": [*REQUEST, ("keep-alive", "1")],
    "proxy_connection": [*REQUEST, ("proxy-connection", "x")],
    "transfer_encoding": [*REQUEST, ("transfer-encoding", "chunked")],
    "upgrade": [*REQUEST, ("upgrade", "x")],
    "te_gzip": request(te="gzip"),
    "two_content_lengths": [*REQUEST, ("content-length", "5"), ("content-length", "5")],
}


@pytest.mark.parametrize("name", sorted(BAD_HEADERS))
def test_bad_headers_reset_their_stream_only(raw: RawClient, name: str) -> None:
    """HTTP/2 stream errors leave the connection alive."""
    raw.headers(1, BAD_HEADERS[name])
    assert raw.reply(1).reset == PROTOCOL
    assert raw.call(body=framed(b"x"), stream=3).status == "0"


@pytest.mark.parametrize(
    "extra",
    [("x", b"\x80\xff"), ("x", ""), ("x", "  padded  "), ("cookie", "a=b")],
    ids=["high_bytes", "empty", "spaces", "cookie"],
)
def test_odd_but_legal_values_do_no_harm(raw: RawClient, extra: Header) -> None:
    """High bytes, empty values and outer spaces are accepted."""
    assert raw.call([*REQUEST, extra], framed(b"x")).status == "0"


def test_host_may_stand_in_for_authority(raw: RawClient) -> None:
    """`host` without `:authority` is accepted."""
    assert raw.call([*without(":authority"), ("host", "h")], framed(b"x")).status == "0"


def test_a_missing_te_is_served(raw: RawClient) -> None:
    """Old proxies strip `te`."""
    assert raw.call(without("te"), framed(b"x")).status == "0"


def test_content_length_must_agree_with_the_data(raw: RawClient) -> None:
    """A wrong content-length is a stream error."""
    assert raw.call(request(content_length="99"), framed(b"x")).reset == PROTOCOL


def test_client_trailers_end_the_request(raw: RawClient) -> None:
    """Trailers with END_STREAM are a half-close; without, an error."""
    raw.headers(1, request(STREAM))
    raw.data(1, framed(b"x"))
    raw.headers(1, [("x-trailer", "1")], END_HEADERS | END_STREAM)
    assert raw.reply(1).status == "0"
    raw.headers(3, request(STREAM))
    raw.headers(3, [("x-trailer", "1")], END_HEADERS)
    assert raw.reply(3).reset == PROTOCOL


def test_window_overrun_resets_the_stream(raw: RawClient) -> None:
    """Stream windows are enforced from the SETTINGS ACK on."""
    raw.headers(1, request("/bench.Hostile/Hoard"))
    raw.ping_pong()
    message = framed(bytes(8187))
    for _ in range(8):
        raw.data(1, message)
    raw.data(1, b"x")
    reply = raw.reply(1)
    assert reply.reset == FLOW


def test_stream_window_overflow_resets_the_stream(raw: RawClient) -> None:
    """A window above 2^31-1 is an error of its stream."""
    raw.headers(1, request(STREAM))
    raw.window(1, 0x7FFFFFFF)
    assert raw.reply(1).reset == FLOW


def test_streams_above_the_limit_are_refused(connect: Callable[..., RawClient]) -> None:
    """Above the advertised maximum: RST(REFUSED_STREAM) or GOAWAY, nothing runs."""
    raw = connect("max_concurrent_streams=2")
    raw.is_polite = False  # the limit is not acknowledged yet
    for stream in (1, 3, 5):
        raw.headers(stream, request(STREAM))
    assert raw.reply(5).reset == REFUSED


# ---------------------------------------------------------------- HTTP and gRPC


def test_other_methods_get_405(raw: RawClient) -> None:
    """Only POST is gRPC."""
    raw.headers(1, [(":method", "GET"), *without(":method")], END_HEADERS | END_STREAM)
    reply = raw.reply(1)
    assert (reply.headers[":status"], reply.headers["allow"]) == ("405", "POST")


def test_connect_gets_405(raw: RawClient) -> None:
    """CONNECT reaches the application, which refuses it."""
    raw.headers(1, [(":method", "CONNECT"), (":authority", "a")])
    assert raw.reply(1).headers[":status"] == "405"


@pytest.mark.parametrize("kind", [None, "application/json", "application/grpc-web", "text/html"])
def test_other_content_types_get_415(raw: RawClient, kind: str | None) -> None:
    """415 with a gRPC status beside it."""
    reply = raw.call(request(content_type=kind), framed(b"x"))
    assert (reply.headers[":status"], reply.status) == ("415", "3")


@pytest.mark.parametrize("kind", ["application/grpc+proto", "application/grpc;v=1"])
def test_content_type_suffixes_are_served(raw: RawClient, kind: str) -> None:
    """`+` and `;` may follow application/grpc."""
    assert raw.call(request(content_type=kind), framed(b"x")).status == "0"


REFUSALS: dict[str, tuple[list[Header], str]] = {
    "header_list_too_large": (request(x_a="v" * 8050, x_b="v" * 8050), "8"),
    "too_many_fields": ([*REQUEST, *[("x", "y")] * 130], "8"),
    "timeout_without_unit": (request(grpc_timeout="12"), "13"),
    "timeout_of_nine_digits": (request(grpc_timeout="123456789S"), "13"),
    "timeout_negative": (request(grpc_timeout="-1S"), "13"),
    "timeout_repeated": ([*REQUEST, ("grpc-timeout", "1S"), ("grpc-timeout", "1S")], "13"),
    "bad_base64": (request(x_bin="!!!"), "13"),
    "unknown_encoding": (request(grpc_encoding="snappy"), "12"),
    "unknown_service": (request("/nope.Nope/X"), "12"),
    "unknown_method": (request("/bench.Echo/Nope"), "12"),
    "trailing_slash": (request("/bench.Echo/Unary/"), "12"),
    "query": (request("/bench.Echo/Unary?x=1"), "12"),
    "wrong_case": (request("/bench.echo/Unary"), "12"),
    "one_segment": (request("/bench"), "12"),
    "expired": (request(grpc_timeout="0n"), "4"),
    "denied": (request(x_deny="no"), "7"),
}


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_refusals_are_trailers_only_then_reset_without_error(raw: RawClient, name: str) -> None:
    """One HEADERS with the status, then RST(NO_ERROR), since the client still sends."""
    headers, status = REFUSALS[name]
    raw.headers(1, headers)
    reply = raw.reply(1)
    assert (reply.is_trailers_only, reply.status) == (True, status), reply
    assert (reply.headers[":status"], reply.headers["content-type"]) == ("200", "application/grpc")
    assert reply.message
    frame = raw.until(lambda f: f.stream == 1)
    assert (frame.type, frame.error_code) == (RST, NO_ERROR)
    assert raw.call(body=framed(b"x"), stream=3).status == "0"


def test_unknown_encoding_lists_ours(raw: RawClient) -> None:
    """The reply says what it understands, and not what it was sent."""
    reply = raw.call(request(grpc_encoding="snappy"), framed(b"x"))
    assert reply.headers["grpc-accept-encoding"] == "identity,deflate,gzip"


def test_a_non_http_scheme_without_slash_is_unimplemented(raw: RawClient) -> None:
    """The library passes such paths through."""
    headers = [(":scheme", "x") if k == ":scheme" else (k, v) for k, v in request("nope")]
    assert raw.call(headers, framed(b"")).status == "12"


def test_end_stream_on_headers_needs_a_streaming_method(raw: RawClient) -> None:
    """Zero messages: fine for streams, an error for unary calls."""
    raw.headers(1, request(STREAM), END_HEADERS | END_STREAM)
    assert raw.reply(1).status == "0"
    raw.headers(3, request(), END_HEADERS | END_STREAM)
    assert raw.reply(3).status == "13"


def test_an_empty_unary_body_is_an_error(raw: RawClient) -> None:
    """END_STREAM on an empty DATA frame, and no message at all."""
    assert raw.call(body=b"").status == "13"


def test_end_stream_on_an_empty_data_frame_is_a_half_close(raw: RawClient) -> None:
    """The message may come first and the end later."""
    raw.headers(1, request(STREAM))
    raw.data(1, framed(b"x"))
    raw.data(1, b"", end=True)
    reply = raw.reply(1)
    assert (reply.body, reply.status) == (framed(b"x"), "0")


BODIES: dict[str, tuple[bytes, str]] = {
    "second_message": (framed(b"a") + framed(b"b"), "13"),
    "flag_2": (framed(b"a", 2), "13"),
    "flag_255": (framed(b"a", 255), "13"),
    "compressed_without_encoding": (framed(gzip.compress(b"a"), 1), "13"),
    "too_large": (struct.pack(">BI", 0, (4 << 20) + 1), "8"),
    "four_gigabytes": (struct.pack(">BI", 0, 0xFFFFFFFF), "8"),
    **{f"cut_in_prefix_{n}": (bytes(n), "13") for n in range(1, 5)},
    "cut_in_body": (framed(b"hello")[:-1], "13"),
}


@pytest.mark.parametrize("name", sorted(BODIES))
def test_bad_bodies_end_with_a_status(raw: RawClient, name: str) -> None:
    """Each framing error has its status; the connection lives on."""
    body, status = BODIES[name]
    path = "/bench.Hostile/HoldUnary"
    assert raw.call(request(path), body).status == status
    assert raw.call(body=framed(b"x"), stream=3).status == "0"


def test_a_huge_message_is_refused_from_its_prefix(raw: RawClient) -> None:
    """Five bytes suffice: status 8 naming both sizes, then RST(NO_ERROR)."""
    raw.headers(1)
    raw.data(1, struct.pack(">BI", 0, 400 << 20))
    reply = raw.reply(1)
    assert reply.status == "8"
    assert str(400 << 20) in reply.message
    assert str(4 << 20) in reply.message
    assert raw.until(lambda f: f.type == RST).error_code == NO_ERROR


GZIP = request(grpc_encoding="gzip")


def test_compressed_messages_are_inflated(raw: RawClient) -> None:
    """gzip, zlib's format under the name deflate, and flag 0 among them."""
    body = framed(gzip.compress(b"hello"), 1)
    assert raw.call(GZIP, body).body == framed(b"hello")
    deflate = request(grpc_encoding="deflate")
    assert raw.call(deflate, framed(zlib.compress(b"hi"), 1), 3).body == framed(b"hi")
    assert raw.call(GZIP, framed(b"plain"), 5).body == framed(b"plain")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not gzip", "13"),
        (gzip.compress(b"x") + b"y", "13"),
        (gzip.compress(b"x" * 100)[:-3], "13"),
        (gzip.compress(bytes((4 << 20) + 1)), "8"),
        (b"", "13"),
    ],
    ids=["garbage", "trailing", "truncated", "bomb", "empty"],
)
def test_bad_compressed_messages_are_refused(raw: RawClient, body: bytes, status: str) -> None:
    """What does not inflate is 13; what inflates past the limit is 8."""
    assert raw.call(GZIP, framed(body, 1)).status == status


def gzip_zeros(size: int) -> bytes:
    """A compressed message a thousand times smaller than what it inflates to."""
    return framed(gzip.compress(bytes(size)), 1)


def test_what_is_held_is_counted_inflated(start_server: Start) -> None:
    """Behind a window's worth of inflated bytes compressed messages wait as they came."""
    server = start_server()
    with RawClient(server.port) as raw:
        before = server.rss_bytes()
        for stream in (1, 3, 5, 7):
            raw.headers(stream, request("/bench.Hostile/Hoard", grpc_encoding="gzip"))
            for _ in range(14):
                raw.data(stream, gzip_zeros(4 << 20))
        raw.ping_pong()
        assert server.stats()["messages_received"] == 4
        assert server.rss_bytes() - before < 40 << 20
        assert raw.call(body=framed(b"live"), stream=9).body == framed(b"live")
        for stream in (1, 3, 5, 7):
            raw.reset(stream)
        server.wait_stats(lambda s: s["open_calls"] == 0)


def test_waiting_compressed_messages_come_in_order(raw: RawClient) -> None:
    """Each as the one before it is consumed; the end of the request comes last."""
    # response_parameters {size: N, interval_us: 1000}, payload {body: 100,000 zeros}
    raw.headers(1, request("/grpc.testing.TestService/FullDuplexCall", grpc_encoding="gzip"))
    for n in range(1, 41):
        body = b"\x12\x05\x08" + bytes([n]) + b"\x10\xe8\x07\x1a\xa4\x8d\x06\x12" + varint(100_000)
        raw.data(1, framed(gzip.compress(body + bytes(100_000)), 1))
    raw.data(1, b"", end=True)
    reply = raw.reply(1)
    assert reply.status == "0", reply.message
    sizes = [len(body) for _, body in split_messages(reply.body)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 40


def split_messages(body: bytes) -> list[tuple[int, bytes]]:
    out = []
    while body:
        flag, size = struct.unpack_from(">BI", body)
        out.append((flag, body[5 : 5 + size]))
        body = body[5 + size :]
    return out


def simple_request(*, compressed: bool) -> bytes:
    """SimpleRequest{response_size: 1000, response_compressed: {value: ...}}."""
    return b"\x10\xe8\x07\x32\x02\x08" + bytes([compressed])


def test_replies_are_compressed_only_for_clients_that_accept_it(raw: RawClient) -> None:
    """grpc-encoding and flag 1 appear only beside grpc-accept-encoding: gzip."""
    path = "/grpc.testing.TestService/UnaryCall"
    accepts = request(path, grpc_accept_encoding="identity, gzip")
    reply = raw.call(accepts, framed(simple_request(compressed=True)), 1)
    ((flag, body),) = split_messages(reply.body)
    assert (flag, reply.headers["grpc-encoding"]) == (1, "gzip")
    assert len(gzip.decompress(body)) > 1000
    reply = raw.call(accepts, framed(simple_request(compressed=False)), 3)
    assert (reply.body[0], "grpc-encoding" in reply.headers) == (0, False)
    reply = raw.call(request(path), framed(simple_request(compressed=True)), 5)
    assert (reply.body[0], "grpc-encoding" in reply.headers) == (0, False)


def test_flags_mix_in_one_compressed_stream(raw: RawClient) -> None:
    """server_compressed_streaming: flags 1, 0 in order."""
    body = b"\x12\x08\x08\xb7\xf5\x01\x1a\x02\x08\x01" + b"\x12\x06\x08\xed\xd3\x05\x1a\x00"
    path = "/grpc.testing.TestService/StreamingOutputCall"
    reply = raw.call(request(path, grpc_accept_encoding="gzip"), framed(body))
    assert [flag for flag, _ in split_messages(reply.body)] == [1, 0]
    assert reply.status == "0"


def test_compressed_and_plain_requests_mix(raw: RawClient) -> None:
    """client_compressed_streaming: a compressed and a plain message on one call."""
    path = "/grpc.testing.TestService/StreamingInputCall"

    def message(size: int, *, compressed: bool) -> bytes:
        body = b"\x0a" + varint(size + len(varint(size)) + 1) + b"\x12" + varint(size) + bytes(size)
        body += b"\x12\x02\x08" + bytes([compressed])
        return framed(gzip.compress(body), 1) if compressed else framed(body)

    raw.headers(1, request(path, grpc_encoding="gzip"))
    both = message(27182, compressed=True) + message(45904, compressed=False)
    for i in range(0, len(both), 16000):
        raw.data(1, both[i : i + 16000])
    raw.data(1, b"", end=True)
    reply = raw.reply(1)
    assert (reply.status, reply.body[5:]) == ("0", b"\x08" + varint(73086))


def varint(n: int) -> bytes:
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def test_every_split_of_two_messages_is_the_same(raw: RawClient) -> None:
    """Frames and messages are unrelated, down to the prefix."""
    wire = framed(b"abc") + framed(b"")
    for i in range(len(wire) + 1):
        stream = 2 * i + 1
        raw.headers(stream, request(STREAM))
        raw.data(stream, wire[:i])
        raw.data(stream, wire[i:], end=True)
        assert raw.reply(stream).body == wire


def test_single_byte_frames_carry_a_message(raw: RawClient) -> None:
    """One byte in each DATA frame."""
    wire = framed(b"hello world")
    raw.headers(1, request(STREAM))
    for i in range(len(wire)):
        raw.data(1, wire[i : i + 1])
    raw.data(1, b"", end=True)
    assert raw.reply(1).body == wire


def test_padding_is_no_part_of_a_message(raw: RawClient) -> None:
    """Padded DATA and HEADERS."""
    block = raw.encode(request())
    raw.frame(HEADERS, END_HEADERS | PADDED, 1, b"\x05" + block + bytes(5))
    raw.frame(DATA, END_STREAM | PADDED, 1, b"\x09" + framed(b"x") + bytes(9))
    assert raw.reply(1).body == framed(b"x")


def test_binary_metadata_goes_out_unpadded_and_unjoined(raw: RawClient) -> None:
    """Values joined with commas are split; each goes back alone, without padding."""
    raw.headers(1, request("/grpc.testing.TestService/EmptyCall", x_trail_bin="q6ur,AQ=="))
    raw.data(1, framed(b""), end=True)
    seen: list[str] = []
    while True:
        frame = raw.until(lambda f: f.stream == 1)
        if frame.type == HEADERS and frame.flags & END_STREAM:
            break
    seen = [v for k, v in frame.headers.items() if k == "x-trail-bin"]
    assert seen == ["AQ"], "the decoder's dict keeps the last of two separate fields"


def test_bidi_headers_come_before_any_message(raw: RawClient) -> None:
    """A client may wait for HEADERS before it writes."""
    raw.headers(1, request(STREAM))
    frame = raw.until(lambda f: f.type == HEADERS)
    assert (frame.stream, frame.flags & END_STREAM) == (1, 0)


# ---------------------------------------------------------------- deadlines and cancellation


def test_a_deadline_ends_the_call_with_status_4(raw: RawClient) -> None:
    """Trailers with status 4, then RST(NO_ERROR)."""
    raw.headers(1, request("/bench.Hostile/Hold", grpc_timeout="20m"))
    assert raw.reply(1).status == "4"
    assert raw.until(lambda f: f.type == RST).error_code == NO_ERROR


def test_a_deadline_inside_a_message_resets_with_cancel(raw: RawClient) -> None:
    """A half-sent message cannot be followed by a status."""
    raw.settings([(4, 10)])
    raw.headers(1, request(STREAM, grpc_timeout="1S"))
    raw.data(1, framed(b"twenty bytes of text"))
    reply = raw.reply(1, grant=False)
    assert (len(reply.body), reply.reset) == (10, CANCEL)


def test_a_deadline_needs_no_window(raw: RawClient) -> None:
    """The status comes although the client has room for no message."""
    raw.settings([(4, 0)])
    raw.headers(1, request(STREAM, grpc_timeout="1S"))
    raw.data(1, framed(b"x"))
    reply = raw.reply(1)
    assert (reply.status, reply.body, reply.reset) == ("4", b"", None)


def test_a_server_maximum_applies_without_a_timeout(connect: Callable[..., RawClient]) -> None:
    """max_deadline_ms caps calls that name no deadline."""
    raw = connect("max_deadline_ms=20")
    raw.headers(1, request("/bench.Hostile/Hold"))
    assert raw.reply(1).status == "4"


def test_a_status_racing_with_its_deadline_comes_once(raw: RawClient) -> None:
    """Handler and deadline at the same time: exactly one status each."""
    path = "/grpc.testing.TestService/FullDuplexCall"
    # response_parameters {size: 1, interval_us: 5000}
    body = framed(b"\x12\x05\x08\x01\x10\x88\x27")
    for i in range(200):
        stream = 2 * i + 1
        raw.headers(stream, request(path, grpc_timeout=f"{4500 + 5 * i}u"))
        raw.data(stream, body, end=True)
        assert raw.reply(stream).status in ("0", "4")
    raw.ping_pong()


def test_a_reset_cancels_the_handler_once(start_server: Start) -> None:
    """RST_STREAM of any code cancels."""
    server = start_server()
    with RawClient(server.port) as raw:
        raw.headers(1, request("/bench.Hostile/Hold"))
        raw.until(lambda f: f.type == HEADERS)
        raw.reset(1, 0)
        assert "client_reset" in server.wait_line("cancelled")


@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_a_lost_connection_cancels_its_calls(start_server: Start, how: str) -> None:
    """End of file counts as gone, also when only the client's sending side ends."""
    server = start_server()
    with RawClient(server.port) as raw:
        raw.headers(1, request("/bench.Hostile/Hold"))
        raw.until(lambda f: f.type == HEADERS)
        if how == "close":
            raw.socket.close()
        else:
            raw.socket.shutdown(socket.SHUT_WR)
        assert "connection_lost" in server.wait_line("cancelled")
        server.wait_stats(lambda s: s["open_connections"] == 0 and s["open_calls"] == 0)


# ---------------------------------------------------------------- flow control


def test_a_stalled_stream_holds_one_window_and_others_run(raw: RawClient) -> None:
    """Many unconsumed streams never stop the connection."""
    raw.ping_pong()
    chunk = framed(bytes(16379))
    for i in range(100):
        stream = 2 * i + 1
        raw.headers(stream, request("/bench.Hostile/Hoard"))
        for _ in range(4):
            raw.data(stream, chunk)
    assert raw.call(body=framed(b"live"), stream=301).body == framed(b"live")


def test_a_message_larger_than_the_window_is_assembled(raw: RawClient) -> None:
    """An incomplete message is given its window back, or it could never complete."""
    size = 1 << 20
    wire = framed(bytes(size))
    raw.headers(1, request("/bench.Hostile/Hoard"))
    left = send_within_window(raw, 1, wire, 65535)
    # Now a complete message of a MiB is held: the window it borrowed is owed.
    more = send_what_fits(raw, 1, left)
    assert more <= 65536
    raw.data(1, b"", end=True)
    assert raw.reply(1).body[5:] == str(size + 5 + more).encode()


def send_within_window(raw: RawClient, stream: int, wire: bytes, window: int) -> int:
    """Sends all of `wire` as windows allow; the stream window left at the end."""
    connection = 65535
    window = 65536
    while wire:
        n = min(len(wire), window, connection, 16384)
        if n > 0:
            raw.data(stream, wire[:n])
            wire, window, connection = wire[n:], window - n, connection - n
            continue
        frame = raw.until(lambda f: f.type == WINDOW)
        increment = struct.unpack(">I", frame.payload)[0]
        if frame.stream == 0:
            connection += increment
        else:
            window += increment
    for _ in range(2):  # an answer to PING overtakes the updates of its own batch
        raw.frame(PING, 0, 0, b"windows?")
        while (frame := raw.until(lambda f: f.type in (WINDOW, PING))).type == WINDOW:
            if frame.stream == stream:
                window += struct.unpack(">I", frame.payload)[0]
    return window


def send_what_fits(raw: RawClient, stream: int, window: int) -> int:
    """Sends small messages until the window is used up; no update may come. Bytes sent."""
    sent = 0
    while window - sent >= 1024:
        raw.data(stream, framed(bytes(1019)))
        sent += 1024
    for _ in range(2):
        raw.frame(PING, 0, 0, b"flowtest")
        frame = raw.until(lambda f: f.stream == stream or f.type == PING)
        assert frame.type == PING, "a held message must not buy more window"
    return sent


def test_initial_window_may_go_to_zero_and_back(raw: RawClient) -> None:
    """SETTINGS that shrink the window mid-stream stop DATA; growing resumes it."""
    raw.settings([(4, 0)])
    raw.headers(1, request(STREAM))
    raw.data(1, framed(b"x"))
    raw.until(lambda f: f.type == HEADERS)
    raw.ping_pong()
    raw.settings([(4, 65535)])
    assert raw.until(lambda f: f.type == DATA).payload == framed(b"x")


def test_two_large_replies_alternate(raw: RawClient) -> None:
    """Streams share the connection frame by frame, none waits for another's end."""
    raw.settings([(4, 1 << 24)])
    raw.window(0, 1 << 24)
    path = "/grpc.testing.TestService/UnaryCall"
    wire = framed(b"\x10" + varint(1 << 20))
    for stream in (1, 3):
        raw.headers(stream, request(path))
    raw.send_bytes(b"".join(frame_bytes(DATA, END_STREAM, s, wire) for s in (1, 3)))
    order: list[int] = []
    while order.count(1) < 20 or order.count(3) < 3:
        frame = raw.until(lambda f: f.type == DATA)
        order.append(frame.stream)
        assert len(order) < 200
    assert 3 in order[:10]


def test_a_client_that_never_reads_is_closed_after_the_stall_timeout(
    start_server: Start,
) -> None:
    """Bytes waiting without progress end the connection; timers keep firing meanwhile."""
    server = start_server("--set", "write_stall_timeout_ms=1500")
    with RawClient(server.port) as raw:
        raw.settings([(4, 0x7FFFFFFF)])
        raw.window(0, 0x7FFF0000)
        path = "/grpc.testing.TestService/UnaryCall"
        for i in range(16):
            raw.headers(2 * i + 1, request(path))
            raw.data(2 * i + 1, framed(b"\x10" + varint(4 << 20)), end=True)
        server.wait_stats(lambda s: s["calls"] == 16 and s["open_connections"] == 0)


def test_frames_announced_before_a_call_ends_are_sent_whole(start_server: Start) -> None:
    """Payloads go by reference: a frame that waits for the socket keeps its bytes when its call is refused."""
    server, count = start_server(), 110
    message = framed(bytes(60_000))
    with RawClient(server.port, receive_buffer=65536) as raw:
        raw.settings([(4, 0x7FFFFFFF)])
        raw.window(0, 0x7FFF0000)
        for stream in range(1, 2 * count, 2):
            raw.headers(stream, request("/bench.Echo/Payload"))
            for at in range(0, len(message), 16000):
                raw.data(stream, message[at : at + 16000])
        server.wait_stats(lambda s: s["messages_received"] == count)
        for stream in range(1, 2 * count, 2):
            raw.data(stream, framed(b"", 7))
        server.wait_stats(lambda s: s["open_calls"] == 0)
        bodies, statuses = dict[int, bytes](), dict[int, str]()
        whole = framed(b"<" + bytes(60_000) + b">")
        while len(statuses) < count:
            frame = raw.until(lambda f: f.type in (DATA, HEADERS) or f.type > CONTINUATION)
            assert frame.type <= CONTINUATION
            if frame.type == HEADERS and "grpc-status" in frame.headers:
                statuses[frame.stream] = frame.headers["grpc-status"]
            elif frame.type == DATA:
                bodies[frame.stream] = bodies.get(frame.stream, b"") + frame.payload
                assert len(bodies[frame.stream]) <= len(whole)
        assert set(statuses.values()) == {"13"}
        assert {body for body in bodies.values() if body} == {whole}
        raw.ping_pong()


def test_response_headers_that_do_not_fit_reset_their_stream(start_server: Start) -> None:
    """More than 64 KiB cannot be sent: the call ends, the connection lives on."""
    server = start_server()
    with RawClient(server.port) as raw:
        raw.headers(1, request("/bench.Hostile/Babble"))
        assert raw.reply(1).reset == INTERNAL
        assert "/bench.Hostile/Babble" in server.wait_line("cancelled")
        assert raw.call(body=framed(b"x"), stream=3).status == "0"
        server.wait_stats(lambda s: s["open_calls"] == 0)


def test_a_zero_header_table_is_obeyed(raw: RawClient) -> None:
    """HEADER_TABLE_SIZE 0 on the client's side."""
    raw.settings([(1, 0)])
    raw.ping_pong()
    assert raw.call(body=framed(b"x")).status == "0"
    assert raw.call(body=framed(b"x"), stream=3).status == "0"


# ---------------------------------------------------------------- life of a connection


def test_keepalive_pings_and_closes_a_silent_client(connect: Callable[..., RawClient]) -> None:
    """No byte within the time: PING. No answer within the timeout: close."""
    raw = connect("keepalive_time_ms=100", "keepalive_timeout_ms=1500")
    raw.until(lambda f: f.type == PING)
    raw.until(lambda f: f.type == PING)  # the first was answered
    raw.is_polite = False
    raw.wait_closed()


def test_idle_connections_drain(connect: Callable[..., RawClient]) -> None:
    """max_connection_idle: GOAWAY, then the end."""
    raw = connect("max_connection_idle_ms=100")
    expect_goaway(raw, NO_ERROR)


def test_old_connections_drain_and_their_calls_end(connect: Callable[..., RawClient]) -> None:
    """max_connection_age with its grace."""
    raw = connect("max_connection_age_ms=1000", "max_connection_age_grace_ms=200")
    raw.headers(1, request(STREAM))
    assert raw.reply(1).status == "14"
    raw.wait_closed()


def test_drain_sends_two_goaways_around_a_ping(start_server: Start) -> None:
    """Streams that arrive between the two are served; later ones are not."""
    server = start_server()
    with RawClient(server.port) as raw:
        raw.headers(1, request(STREAM))
        raw.until(lambda f: f.type == HEADERS)
        raw.is_polite = False
        server.drain()
        first = raw.goaway()
        assert (first.error_code, first.payload[:4]) == (NO_ERROR, b"\x7f\xff\xff\xff")
        ping = raw.until(lambda f: f.type == PING)
        assert raw.call(body=framed(b"late"), stream=3).body == framed(b"late")
        raw.frame(PING, ACK, 0, ping.payload)
        assert raw.goaway().payload[:4] == b"\x00\x00\x00\x03"
        raw.headers(5)
        raw.data(1, framed(b"still here"), end=True)
        assert raw.reply(1).body == framed(b"still here")
        assert all(f.stream != 5 for f in raw.wait_closed())
        server.wait_line("drained")


def test_connections_above_the_limit_are_closed(start_server: Start) -> None:
    """Accepted and closed at once."""
    server = start_server("--set", "max_connections_per_address=2")
    with RawClient(server.port) as a, RawClient(server.port) as b:
        a.ping_pong()
        b.ping_pong()
        with RawClient(server.port, hello=False) as c:
            assert c.wait_closed() == []
        a.ping_pong()
    server.wait_stats(lambda s: s["open_connections"] == 0)
    with RawClient(server.port) as d:
        d.ping_pong()


def test_a_clients_goaway_lets_its_calls_finish(raw: RawClient) -> None:
    """GOAWAY from a client is a channel closing, not an error."""
    raw.headers(1, request(STREAM))
    raw.frame(GOAWAY, 0, 0, bytes(8))
    raw.data(1, framed(b"x"), end=True)
    assert raw.reply(1).status == "0"
    raw.wait_closed()

"""The published gRPC interop cases, by grpcio's blocking and asyncio APIs, over TCP, TLS and a
Unix socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from interop_harness import AioClient, Client, Messages, Outcome, Server, SyncClient

TEST = "/grpc.testing.TestService/"
SIZES_IN = (27182, 8, 1828, 45904)
SIZES_OUT = (31415, 9, 2653, 58979)
OK = grpc.StatusCode.OK
Start = Callable[..., Server]


@pytest.fixture(
    params=["sync-tcp", "sync-tls", "sync-unix", "aio-tcp", "aio-tls", "aio-unix", "sync-extremes"]
)
def client(request: pytest.FixtureRequest, shared_server: Server, certificates: Path) -> Iterator[Client]:
    api, _, transport = request.param.partition("-")
    options: list[tuple[str, int]] = []
    credentials = None
    target = f"127.0.0.1:{shared_server.ports[0]}"
    if transport == "tls":
        credentials = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
        target = f"localhost:{shared_server.ports[2]}"
    elif transport == "unix":
        target = f"unix:{shared_server.unix_path}"
    elif transport == "extremes":
        options = [("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.max_frame_size", 16777215)]
    made: Client = (SyncClient if api == "sync" else AioClient)(target, credentials, options)
    yield made
    made.close()


def output_request(m: Messages, sizes: tuple[int, ...], payload: int = 0, interval_us: int = 0) -> bytes:
    request = m.StreamingOutputCallRequest()
    for size in sizes:
        request.response_parameters.add(size=size, interval_us=interval_us)
    request.payload.body = bytes(payload)
    out: bytes = request.SerializeToString()
    return out


def reply_size(m: Messages, reply: bytes | None) -> int:
    assert reply is not None
    return len(m.StreamingOutputCallResponse.FromString(reply).payload.body)


def large_request(m: Messages, **fields: object) -> bytes:
    request = m.SimpleRequest(response_size=314159, **fields)
    request.payload.body = bytes(271828)
    out: bytes = request.SerializeToString()
    return out


def assert_large(m: Messages, reply: bytes | None, outcome: Outcome) -> None:
    assert outcome.code is OK
    assert reply is not None
    assert len(m.SimpleResponse.FromString(reply).payload.body) == 314159


def test_empty_unary_is_empty_both_ways(client: Client) -> None:
    """A zero-byte message is a message."""
    reply, outcome = client.unary(TEST + "EmptyCall", b"")
    assert (reply, outcome.code) == (b"", OK)


def test_large_unary_has_the_exact_size(client: Client, messages: Messages) -> None:
    """Messages far above a frame and a window arrive whole."""
    assert_large(messages, *client.unary(TEST + "UnaryCall", large_request(messages)))


def test_client_compressed_unary_is_judged_by_its_flag(client: Client, messages: Messages) -> None:
    """The handler sees whether a message was compressed."""
    for compressed, expected, code in (
        (False, True, grpc.StatusCode.INVALID_ARGUMENT),
        (True, True, OK),
        (False, False, OK),
    ):
        request = large_request(messages, expect_compressed=messages.BoolValue(value=expected))
        _, outcome = client.unary(TEST + "UnaryCall", request, gzip=compressed)
        assert outcome.code is code


@pytest.mark.parametrize("compressed", [True, False])
def test_server_compressed_unary_is_readable(client: Client, messages: Messages, compressed: bool) -> None:
    """A reply is whole, compressed or not."""
    flag = messages.BoolValue(value=compressed)
    request = large_request(messages, response_compressed=flag)
    assert_large(messages, *client.unary(TEST + "UnaryCall", request))


def test_client_streaming_sums_up(client: Client, messages: Messages) -> None:
    """All messages of a client stream are seen before its one reply."""
    call = client.stream(TEST + "StreamingInputCall")
    for size in SIZES_IN:
        request = messages.StreamingInputCallRequest()
        request.payload.body = bytes(size)
        call.write(request.SerializeToString())
    call.done_writing()
    reply = messages.StreamingInputCallResponse.FromString(call.read())
    assert reply.aggregated_payload_size == 74922
    assert call.outcome().code is OK


def test_client_compressed_streaming_probe_is_refused(client: Client, messages: Messages) -> None:
    """An uncompressed message that claims to be compressed gets INVALID_ARGUMENT."""
    call = client.stream(TEST + "StreamingInputCall")
    request = messages.StreamingInputCallRequest(expect_compressed=messages.BoolValue(value=True))
    call.write(request.SerializeToString())
    assert call.read() is None
    assert call.outcome().code is grpc.StatusCode.INVALID_ARGUMENT


def test_server_streaming_keeps_order_and_sizes(client: Client, messages: Messages) -> None:
    """Four responses, in order."""
    call = client.stream(TEST + "StreamingOutputCall")
    call.write(output_request(messages, SIZES_OUT))
    call.done_writing()
    assert tuple(reply_size(messages, call.read()) for _ in SIZES_OUT) == SIZES_OUT
    assert call.read() is None
    assert call.outcome().code is OK


def test_server_compressed_streaming_is_readable(client: Client, messages: Messages) -> None:
    """Compressed and plain messages mix in one stream."""
    request = messages.StreamingOutputCallRequest()
    for size, flag in ((31415, True), (92653, False)):
        request.response_parameters.add(size=size).compressed.value = flag
    call = client.stream(TEST + "StreamingOutputCall")
    call.write(request.SerializeToString())
    call.done_writing()
    assert [reply_size(messages, call.read()) for _ in range(2)] == [31415, 92653]
    assert call.outcome().code is OK


def test_ping_pong_answers_each_before_the_next(client: Client, messages: Messages) -> None:
    """A bidi stream answers while the client still writes."""
    call = client.stream(TEST + "FullDuplexCall")
    for sent, wanted in zip(SIZES_IN, SIZES_OUT, strict=True):
        call.write(output_request(messages, (wanted,), payload=sent))
        assert reply_size(messages, call.read()) == wanted
    call.done_writing()
    assert call.read() is None
    assert call.outcome().code is OK


def test_half_duplex_answers_after_the_half_close(client: Client, messages: Messages) -> None:
    """Requests may be held back until the client has said everything."""
    call = client.stream(TEST + "HalfDuplexCall")
    for wanted in SIZES_OUT:
        call.write(output_request(messages, (wanted,)))
    call.done_writing()
    assert tuple(reply_size(messages, call.read()) for _ in SIZES_OUT) == SIZES_OUT
    assert call.outcome().code is OK


def test_empty_stream_ends_ok(client: Client) -> None:
    """A stream without messages is a success."""
    call = client.stream(TEST + "FullDuplexCall")
    call.done_writing()
    assert call.read() is None
    assert call.outcome().code is OK


CUSTOM = (
    ("x-grpc-test-echo-initial", "test_initial_metadata_value"),
    ("x-grpc-test-echo-trailing-bin", b"\xab\xab\xab"),
)


def assert_custom(outcome: Outcome) -> None:
    assert outcome.code is OK
    assert outcome.initial["x-grpc-test-echo-initial"] == "test_initial_metadata_value"
    assert outcome.trailing["x-grpc-test-echo-trailing-bin"] == b"\xab\xab\xab"


def test_custom_metadata_comes_back_in_headers_and_trailers(client: Client, messages: Messages) -> None:
    """ASCII metadata returns in HEADERS, binary in trailers, on both kinds of call."""
    _, outcome = client.unary(TEST + "UnaryCall", large_request(messages), metadata=CUSTOM)
    assert_custom(outcome)
    call = client.stream(TEST + "FullDuplexCall", metadata=CUSTOM)
    call.write(output_request(messages, (314159,), payload=271828))
    assert reply_size(messages, call.read()) == 314159
    call.done_writing()
    assert_custom(call.outcome())


@pytest.mark.parametrize(
    "text", ["test status message", "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"]
)
def test_status_code_and_message_are_exact(client: Client, messages: Messages, text: str) -> None:
    """Code and text of a status arrive byte for byte."""
    status = messages.EchoStatus(code=2, message=text)
    request = messages.SimpleRequest(response_status=status).SerializeToString()
    _, outcome = client.unary(TEST + "UnaryCall", request)
    assert (outcome.code, outcome.details) == (grpc.StatusCode.UNKNOWN, text)
    call = client.stream(TEST + "FullDuplexCall")
    call.write(messages.StreamingOutputCallRequest(response_status=status).SerializeToString())
    outcome = call.outcome()
    assert (outcome.code, outcome.details) == (grpc.StatusCode.UNKNOWN, text)


@pytest.mark.parametrize("size", [5000, 65536])
def test_a_huge_status_text_is_cut_and_the_code_survives(
    client: Client, messages: Messages, size: int
) -> None:
    """Trailers stay below what clients accept, whatever the handler says."""
    status = messages.EchoStatus(code=9, message="☺" * size)
    request = messages.SimpleRequest(response_status=status).SerializeToString()
    _, outcome = client.unary(TEST + "UnaryCall", request)
    assert outcome.code is grpc.StatusCode.FAILED_PRECONDITION
    assert set(outcome.details) == {"☺"}


@pytest.mark.parametrize(
    "path", [TEST + "UnimplementedCall", "/grpc.testing.UnimplementedService/UnimplementedCall"]
)
def test_unknown_methods_are_unimplemented(client: Client, path: str) -> None:
    """Unknown method and unknown service are status 12."""
    _, outcome = client.unary(path, b"")
    assert outcome.code is grpc.StatusCode.UNIMPLEMENTED


def test_cancel_after_begin_frees_the_server(client: Client, shared_server: Server) -> None:
    """A call cancelled before any message is CANCELLED and its handler is told."""
    call = client.stream(TEST + "StreamingInputCall", metadata=(("x-echo-a", "b"),))
    shared_server.wait_stats(lambda s: s["open_calls"] == 1)
    call.cancel()
    assert call.outcome().code is grpc.StatusCode.CANCELLED
    shared_server.wait_line("cancelled /grpc.testing.TestService/StreamingInputCall client_reset")
    shared_server.wait_stats(lambda s: s["open_calls"] == 0)


def test_cancel_after_first_response_is_cancelled(client: Client, messages: Messages) -> None:
    """A call cancelled in its middle is CANCELLED."""
    call = client.stream(TEST + "FullDuplexCall")
    call.write(output_request(messages, (31415,), payload=27182))
    assert reply_size(messages, call.read()) == 31415
    call.cancel()
    assert call.outcome().code is grpc.StatusCode.CANCELLED


def test_timeout_on_a_sleeping_server_is_deadline_exceeded(client: Client, messages: Messages) -> None:
    """The deadline ends a call that the server would answer too late."""
    call = client.stream(TEST + "FullDuplexCall", timeout_s=0.02)
    call.write(output_request(messages, (1,), payload=27182, interval_us=5_000_000))
    assert call.outcome().code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_authorizer_refuses_with_its_own_code(client: Client) -> None:
    """UNAUTHENTICATED and PERMISSION_DENIED come from the hook, before any handler."""
    for value, code in (
        ("who", grpc.StatusCode.UNAUTHENTICATED),
        ("no", grpc.StatusCode.PERMISSION_DENIED),
    ):
        _, outcome = client.unary(TEST + "EmptyCall", b"", metadata=(("x-deny", value),))
        assert (outcome.code, outcome.details) == (code, "denied")


def test_payloads_by_reference_arrive_unharmed(client: Client) -> None:
    """Zero-copy messages keep their bytes and their order among frames."""
    call = client.stream("/bench.Echo/Payload")
    for size in (0, 1, 100, 16384, 65536, 1 << 20, 3 << 20):
        body = os.urandom(size)
        call.write(body)
        assert call.read() == b"<" + body + b">"
    call.done_writing()
    assert call.outcome().code is OK


def test_thousand_concurrent_large_unary_all_succeed(shared_server: Server, messages: Messages) -> None:
    """A thousand large calls on one channel all end OK."""
    client = SyncClient(f"127.0.0.1:{shared_server.ports[0]}", None)
    request = large_request(messages)
    with ThreadPoolExecutor(64) as pool:
        results = list(
            pool.map(lambda _: client.unary(TEST + "UnaryCall", request, timeout_s=60), range(1000))
        )
    client.close()
    for reply, outcome in results:
        assert_large(messages, reply, outcome)


def test_thousand_idle_streams_cost_little_and_all_answer(start_server: Start) -> None:
    """An idle stream holds about a KiB, and is alive."""
    server = start_server()
    client = SyncClient(server.target, None)
    call = client.stream("/bench.Echo/Stream")
    call.write(b"warm")
    assert call.read() == b"warm"
    before = server.rss_bytes()
    aio = AioClient(server.target, None)
    calls = [aio.stream("/bench.Echo/Stream", timeout_s=120) for _ in range(1000)]
    server.wait_stats(lambda s: s["open_calls"] == 1001)
    assert (server.rss_bytes() - before) / 1000 < 4096
    for c in calls:
        c.write(b"hi")
    assert [c.read() for c in calls] == [b"hi"] * 1000
    aio.close()
    client.close()
    server.wait_stats(lambda s: s["open_calls"] == 0)


def test_mutual_tls_needs_a_client_certificate(start_server: Start, certificates: Path) -> None:
    """Without a certificate of the authority there is no call; with one there is."""
    tls = [str(certificates / n) for n in ("server.pem", "server.key", "ca.pem")]
    server = start_server("--tls", *tls, "--listen", "127.0.0.1:0")
    ca = (certificates / "ca.pem").read_bytes()
    key = (certificates / "client.key").read_bytes()
    chain = (certificates / "client.pem").read_bytes()
    target = f"localhost:{server.port}"
    stranger = SyncClient(target, grpc.ssl_channel_credentials(ca))
    assert stranger.unary(TEST + "EmptyCall", b"")[1].code is grpc.StatusCode.UNAVAILABLE
    stranger.close()
    friend = SyncClient(target, grpc.ssl_channel_credentials(ca, key, chain))
    assert friend.unary(TEST + "EmptyCall", b"")[1].code is OK
    friend.close()


def test_drain_serves_open_streams_and_moves_new_calls_away(start_server: Start) -> None:
    """After SIGTERM a stream in progress ends OK; then the process ends by itself."""
    server = start_server("--drain-ms", "30000")
    client = AioClient(server.target, None)
    calls = [client.stream("/bench.Echo/Stream") for _ in range(100)]
    for call in calls:
        call.write(b"1")
    assert [call.read() for call in calls] == [b"1"] * 100
    server.drain()
    _, outcome = client.unary("/bench.Echo/Unary", b"x", timeout_s=1.0)
    for call in calls:
        call.write(b"2")
        assert call.read() == b"2"
        call.done_writing()
    assert [call.outcome().code for call in calls] == [OK] * 100
    server.wait_line("drained")
    client.close()
    assert outcome.code in (OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def test_drain_deadline_ends_calls_with_unavailable(start_server: Start) -> None:
    """What is still open at the deadline gets status 14."""
    server = start_server("--drain-ms", "300")
    client = SyncClient(server.target, None)
    call = client.stream("/bench.Echo/Stream")
    call.write(b"1")
    assert call.read() == b"1"
    server.drain()
    assert call.outcome().code is grpc.StatusCode.UNAVAILABLE
    server.wait_line("drained")
    client.close()


def test_an_uploading_client_that_probes_bandwidth_is_not_thrown_out(start_server: Start) -> None:
    """BDP pings of an upload-only stream are forgiven."""
    server = start_server("--set", "min_ping_interval_ms=7200000")
    client = SyncClient(server.target, None, [("grpc.http2.bdp_probe", 1)])
    call = client.stream("/grpc.testing.TestService/StreamingInputCall", timeout_s=120)
    chunk = b"\x0a\x84\x80\x40\x12\x80\x80\x40" + bytes(1 << 20)
    for _ in range(128):
        call.write(chunk)
    call.done_writing()
    assert call.read() == b"\x08\x80\x80\x80\x40"
    assert call.outcome().code is OK
    client.close()


def test_a_stopped_client_does_not_hold_up_others(start_server: Start, tmp_path: Path) -> None:
    """A client that is stopped while it is sent data delays nobody."""
    server = start_server()
    script = tmp_path / "slow.py"
    script.write_text(
        "import grpc, sys\n"
        f"c = grpc.insecure_channel('{server.target}')\n"
        "s = c.stream_stream('/bench.Echo/Stream')\n"
        "def up():\n"
        "    while True: yield bytes(60000)\n"
        "for i, m in enumerate(s(up())):\n"
        "    if i == 10: print('going', flush=True)\n"
    )
    slow = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert slow.stdout is not None
    assert slow.stdout.readline() == "going\n"
    slow.send_signal(signal.SIGSTOP)
    client = SyncClient(server.target, None)
    for _ in range(100):
        assert client.unary("/bench.Echo/Unary", b"x", timeout_s=20.0)[0] == b"x"
    client.close()
    slow.kill()
    slow.wait(30)
    slow.stdout.close()
    server.wait_stats(lambda s: s["open_calls"] == 0)

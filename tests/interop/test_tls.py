"""TLS on the wire: handshakes that stall, trickle, or are none, and what the limits do about them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from interop_harness import Server

Start = Callable[..., Server]

LIMIT_S = 20
TIMEOUT_MS = 300


@pytest.fixture
def server(start_server: Start, certificates: Path) -> Server:
    """A TLS port whose clients have little time."""
    limits = ("--set", f"tls_handshake_timeout_ms={TIMEOUT_MS}", "--set", f"preface_timeout_ms={TIMEOUT_MS}")
    tls = (str(certificates / "server.pem"), str(certificates / "server.key"))
    return start_server(*limits, "--tls", *tls, "--listen", "127.0.0.1:0")


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), LIMIT_S)


def closed_after(connection: socket.socket) -> float:
    """Seconds until the server has ended the connection."""
    began = time.monotonic()
    connection.settimeout(LIMIT_S)
    try:
        while connection.recv(4096):
            pass
    except (ConnectionResetError, ssl.SSLError):
        pass
    return time.monotonic() - began


def client_hello(certificates: Path) -> bytes:
    """The first bytes of a good client."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("part", ["nothing", "one byte", "half a hello", "a whole hello"])
def test_a_handshake_that_stops_is_closed_in_time(server: Server, certificates: Path, part: str) -> None:
    """Wherever the client stops, tls_handshake_timeout_ms ends the connection, not before and not much later."""
    hello = client_hello(certificates)
    sent = {
        "nothing": b"",
        "one byte": hello[:1],
        "half a hello": hello[: len(hello) // 2],
        "a whole hello": hello,
    }
    began_s = time.monotonic()
    with connect(server) as stalled:
        stalled.sendall(sent[part])
        assert closed_after(stalled) < LIMIT_S / 2
    assert time.monotonic() - began_s > TIMEOUT_MS / 1e3 * 0.9
    server.wait_stats(lambda s: s["open_connections"] == 0)


def test_a_trickle_does_not_win_time(server: Server, certificates: Path) -> None:
    """The clock runs from accept: a byte now and then does not set it back."""
    hello = client_hello(certificates)
    done = threading.Event()
    with connect(server) as slow:

        def drip() -> None:
            for byte in hello:
                if done.wait(TIMEOUT_MS / 1e4):
                    return
                try:
                    slow.send(bytes([byte]))
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        took_s = closed_after(slow)
        done.set()
        dripping.join(LIMIT_S)
    assert took_s < LIMIT_S / 2
    assert took_s < len(hello) * TIMEOUT_MS / 1e4 / 2  # long before the hello was complete


def test_silence_after_the_handshake_is_closed(server: Server, certificates: Path) -> None:
    """TLS alone is no HTTP/2: the preface has its own time."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(connect(server), server_hostname="localhost") as silent:
        assert silent.selected_alpn_protocol() == "h2"
        assert closed_after(silent) < LIMIT_S / 2
    server.wait_stats(lambda s: s["open_connections"] == 0)


def test_a_hundred_silent_clients_stop_nobody(server: Server, certificates: Path) -> None:
    """Others are served meanwhile, and afterwards nothing is open."""
    import grpc
    from interop_harness import SyncClient

    silent = [connect(server) for _ in range(100)]
    trusted = grpc.ssl_channel_credentials((certificates / "ca.pem").read_bytes())
    friend = SyncClient(f"localhost:{server.port}", trusted)
    assert friend.unary("/bench.Echo/Unary", b"x")[1].code is grpc.StatusCode.OK
    friend.close()
    for one in silent:
        assert closed_after(one) < LIMIT_S / 2
        one.close()
    server.wait_stats(lambda s: s["open_connections"] == 0)

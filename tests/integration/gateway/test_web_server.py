"""The web server itself: what it does with clients that neither say nor read anything."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any

import psutil
import pytest
from running import until

from loader.gateway import pages
from loader.web import limits
from loader.web import server as web_server

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ECHOED = b"\x82\xff" + (3 << 20).to_bytes(8, "big") + bytes(4 + (3 << 20))  # a frame, masked by zeros
TOO_MUCH = 30 << 20  # for what lies between a server and its client


async def send_much(scope: Any, receive: Any, send: Any) -> None:
    """A session that ends while its client has not read."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": bytes(TOO_MUCH)})


async def answer_much(scope: Any, receive: Any, send: Any) -> None:
    """A page that fills what lies between a server and its client."""
    head = (b"content-length", str(TOO_MUCH).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [head]})
    await send({"type": "http.response.body", "body": bytes(TOO_MUCH)})


async def echo_much(scope: Any, receive: Any, send: Any) -> None:
    """/ping, in which a client gets what it has said."""
    await pages.answer_pings(receive, send)


async def answer_little(scope: Any, receive: Any, send: Any) -> None:
    """A page."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})


async def wait_silently(scope: Any, receive: Any, send: Any) -> None:
    """A session that has nothing to say."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (send_much, [HANDSHAKE]),
        (echo_much, [HANDSHAKE, ECHOED * 4]),
        (answer_much, [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2]),
        (answer_little, [b"GET / HTTP/1.1\r\n"]),
        (answer_little, [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /"]),
        (wait_silently, [HANDSHAKE.replace(b"GET", b"POST")]),
        (wait_silently, [HANDSHAKE.replace(b"Host: x", b"Host: x\r\nContent-Length: 1") + b"x"]),
    ],
    ids=[
        "reads nothing of its session",
        "reads nothing of its pings",
        "reads nothing of its two answers",
        "says half of what it wants",
        "and that behind a whole request",
        "asks for a WebSocket by POST",
        "asks for one with a body",
    ],
)
def test_a_client_that_does_nothing_is_let_go(
    app: Any, said: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some time: else it would hold the connection for ever."""
    monkeypatch.setattr(limits, "LINGER_S", 0.2)
    monkeypatch.setattr(limits, "HEAD_S", 3.0)
    monkeypatch.setattr(pages, "PING_S", 0.5)
    monkeypatch.setattr(pages, "CLOSE_S", 0.2)

    async def serve(client: socket.socket) -> None:
        server = web_server.HttpServer(web_server.bind("127.0.0.1:0"), lambda: app)
        await server.start()
        try:
            host, _, port = server.address.rpartition(":")

            def held() -> list[Any]:
                mine = psutil.Process().net_connections("tcp4")
                return [one for one in mine if one.laddr.port == int(port) and one.raddr]

            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(30)
            await asyncio.to_thread(client.connect, (host, int(port)))
            await asyncio.to_thread(until, held, "the connection is there")
            client.sendall(said[0])
            for part in said[1:]:
                assert await asyncio.to_thread(client.recv, 65536)
                with suppress(OSError):  # it is let go while it still speaks
                    await asyncio.to_thread(client.sendall, part)
            await asyncio.to_thread(until, lambda: not held(), "the connection is closed")
        finally:
            await server.stop()

    with socket.socket() as client:
        asyncio.run(serve(client))


def test_pongs_are_not_kept_for_a_client_that_does_not_read_them() -> None:
    """Else they would fill the memory."""
    ping = b"\x89\xfd" + bytes(4 + 125)
    kept: list[int] = []

    async def serve(client: socket.socket) -> None:
        server = web_server.HttpServer(web_server.bind("127.0.0.1:0"), lambda: wait_silently)
        await server.start()
        loop = asyncio.get_running_loop()
        try:
            host, _, port = server.address.rpartition(":")
            client.setblocking(False)
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, HANDSHAKE)
            assert await loop.sock_recv(client, 65536)
            assert server._server is not None
            (connection,) = server._server.server_state.connections
            for _ in range(TOO_MUCH // (1 << 20)):
                await loop.sock_sendall(client, ping * ((1 << 20) // len(ping)))
                kept.append(connection.transport.get_write_buffer_size())
        finally:
            client.close()
            await server.stop()

    with socket.socket() as client:
        asyncio.run(serve(client))
    assert max(kept) < 1 << 20

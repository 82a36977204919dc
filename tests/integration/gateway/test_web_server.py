"""The web server itself: what it does with clients that neither say nor read anything."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import psutil
import pytest
from running import until

from loader.web import limits
from loader.web import server as web_server

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TOO_MUCH = 30 << 20  # for what lies between a server and its client


async def send_much(scope: Any, receive: Any, send: Any) -> None:
    """A session that ends while its client has not read."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": bytes(TOO_MUCH)})


async def answer_little(scope: Any, receive: Any, send: Any) -> None:
    """A page."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"x"})


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (send_much, [HANDSHAKE]),
        (answer_little, [b"GET / HTTP/1.1\r\n"]),
        (answer_little, [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /"]),
    ],
    ids=["reads nothing of its session", "says half of what it wants", "and that behind a whole request"],
)
def test_a_client_that_does_nothing_is_let_go(
    app: Any, said: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some time: else it would hold the connection for ever."""
    monkeypatch.setattr(limits, "LINGER_S", 0.2)
    monkeypatch.setattr(limits, "HEAD_S", 1.0)

    async def serve(client: socket.socket) -> None:
        server = web_server.HttpServer(web_server.bind("127.0.0.1:0"), lambda: app)
        await server.start()
        try:
            host, _, port = server.address.rpartition(":")

            def held() -> list[Any]:
                mine = psutil.Process().net_connections("tcp4")
                return [one for one in mine if one.laddr.port == int(port) and one.raddr]

            await asyncio.to_thread(client.connect, (host, int(port)))
            await asyncio.to_thread(until, held, "the connection is there")
            client.sendall(said[0])
            for part in said[1:]:
                assert await asyncio.to_thread(client.recv, 65536)
                client.sendall(part)
            await asyncio.to_thread(until, lambda: not held(), "the connection is closed")
        finally:
            await server.stop()

    with socket.socket() as client:
        asyncio.run(serve(client))

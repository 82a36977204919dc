"""The web server itself: what it does with clients that do not read."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import psutil
import pytest
from running import until

from loader import web_server

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


def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some time after the end of its session: else it would hold the connection for ever."""
    monkeypatch.setattr(web_server, "LINGER_S", 0.2)

    async def serve(client: socket.socket) -> None:
        server = web_server.HttpServer(web_server.bind("127.0.0.1:0"), lambda: send_much)
        await server.start()
        try:
            host, _, port = server.address.rpartition(":")

            def held() -> list[Any]:
                mine = psutil.Process().net_connections("tcp4")
                return [one for one in mine if one.laddr.port == int(port) and one.raddr]

            await asyncio.to_thread(client.connect, (host, int(port)))
            await asyncio.to_thread(until, held, "the connection is there")
            client.sendall(HANDSHAKE)
            await asyncio.to_thread(client.recv, 1)
            await asyncio.to_thread(until, lambda: not held(), "the connection is closed")
        finally:
            await server.stop()

    with socket.socket() as client:
        asyncio.run(serve(client))

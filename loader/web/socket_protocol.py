"""WebSockets as uvicorn speaks them, without waits that have no bound. Imports websockets: load it when one comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from loader.web import limits

if TYPE_CHECKING:
    import asyncio


REFUSAL = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
    b"A WebSocket is asked for by GET, without a body.\n"
)


class SocketProtocol(WebSocketsSansIOProtocol):
    """Lets go of a client that does not read, when its session is over; until then keeps no pongs for it."""

    def data_received(self, data: bytes) -> None:
        """First the whole head of the request. One that asks for no WebSocket would never be answered."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(REFUSAL)
            self.transport.close()

    def handle_ping(self) -> None:
        """A pong for each would be kept for ever; who reads again gets one for its next ping."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The session is over."""
        super().on_task_complete(task)
        self.loop.call_later(limits.LINGER_S, self.transport.abort)

"""WebSockets as uvicorn speaks them, without waits that have no bound. Imports websockets: load it when one comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from loader.web import limits

if TYPE_CHECKING:
    import asyncio


class SocketProtocol(WebSocketsSansIOProtocol):
    """Lets go of a client that does not read, when its session is over; until then keeps no pongs for it."""

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

"""WebSockets as uvicorn speaks them, without waits that have no bound. Imports websockets: load it when one comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from loader.web import limits

if TYPE_CHECKING:
    import asyncio


class SocketProtocol(WebSocketsSansIOProtocol):
    """Lets go of a client that does not read, when its session is over."""

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The session is over."""
        super().on_task_complete(task)
        self.loop.call_later(limits.LINGER_S, self.transport.abort)

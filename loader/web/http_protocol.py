"""HTTP/1.1 as uvicorn speaks it, without waits that have no bound. Imports uvicorn: load it when the server starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

from loader.web import limits

if TYPE_CHECKING:
    import asyncio


class HttpProtocol(H11Protocol):
    """Lets go of a client that does not say what it wants, or does not read what it asked for."""

    _patience: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has connected."""
        super().connection_made(transport)
        self._begin_to_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._end_to_wait()
        self._end_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read, and no answer goes on until it does."""
        super().pause_writing()
        self._stall = self.loop.call_later(limits.LINGER_S, self._abort)

    def resume_writing(self) -> None:
        """It has read."""
        self._end_stall()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Of a head or a body."""
        super().data_received(data)
        if self._is_busy:
            self._end_to_wait()
        elif self._patience is None:
            self._begin_to_wait()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more was asked for; what was sent may still be on its way."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(limits.LINGER_S, self.transport.abort)

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _begin_to_wait(self) -> None:
        self._patience = self.loop.call_later(limits.HEAD_S, self._lose_patience)

    def _end_to_wait(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if not self._is_busy:
            self._abort()

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _abort(self) -> None:
        if self.transport.get_protocol() is self:  # and not a WebSocket by now
            self.transport.abort()

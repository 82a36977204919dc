"""A web server on a bound socket: HTTP and WebSockets. Imports uvicorn only when it is started.

Knows one ASGI application and no path of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext

    import uvicorn
    from starlette.types import ASGIApp


logger = logging.getLogger(__name__)


class OursHandler(logging.Handler):
    """Makes uvicorn's records ours: else they go to standard error at once, whoever reads it and in whatever form."""

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        logger.handle(record)


def _socket_protocol(**arguments: Any) -> asyncio.Protocol:
    """The protocol of one WebSocket. What it needs is loaded with the first: the start should not wait for it."""
    from loader.web.socket_protocol import SocketProtocol

    return SocketProtocol(**arguments)


def bind(address: str) -> socket.socket:
    """A listening socket on HOST:PORT. Raises: OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends without delay only where the protocol is said, not the default: else an answer takes 40 ms.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


class HttpServer:
    """A web server on a bound socket; `start()` returns when it answers."""

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], ASGIApp],
        *,
        ws_bytes: int = 4 << 20,
        tls: SSLContext | None = None,
    ) -> None:
        """`ws_bytes`: the largest message of a WebSocket."""
        self._socket = sock
        self._make = make
        self._ws_bytes = ws_bytes
        self._tls = tls
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        host, port = sock.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        import uvicorn

        from loader.web.http_protocol import HttpProtocol

        config = uvicorn.Config(
            self._make(),
            log_config=None,
            log_level="error",  # what is wrong with a request is its client's to know
            access_log=False,
            lifespan="off",
            http=HttpProtocol,
            ws=cast("type[asyncio.Protocol]", _socket_protocol),
            ws_max_size=self._ws_bytes,
            ws_per_message_deflate=False,  # it would cost more than it saves on what is base64 already
            timeout_graceful_shutdown=2,
        )
        config.load()
        config.ssl = self._tls
        log = logging.getLogger("uvicorn")
        log.handlers[:], log.propagate = [OursHandler()], False
        started = asyncio.Event()

        class Server(uvicorn.Server):
            """Signals are the loader's, not the web server's."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                started.set()

        self._server = Server(config)
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED, timeout=10)
        waiting.cancel()
        if self._task.done():
            self._task.result()  # why it has not started

    async def stop(self) -> None:
        """Ends the server; open requests get two seconds."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.wait((self._task,), timeout=5)
        self._socket.close()

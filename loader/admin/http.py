"""The HTTP port: /metrics, /healthz and /readyz. Imports its web server only when it is started.

Knows functions that answer; refuses to know engines.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether new work is wanted here, and each engine's state."""

    is_ready: bool
    engines: dict[str, str]


def make_app(metrics: Callable[[], bytes], readiness: Callable[[], Readiness]) -> Starlette:
    """The ASGI application."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    from loader.admin.metrics import CONTENT_TYPE

    async def answer_metrics(_: Request) -> Response:
        return Response(metrics(), media_type=CONTENT_TYPE)

    async def answer_health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def answer_readiness(_: Request) -> Response:
        state = readiness()
        body = json.dumps({"ready": state.is_ready, "engines": state.engines})
        return Response(
            body + "\n", status_code=200 if state.is_ready else 503, media_type="application/json"
        )

    return Starlette(
        routes=[
            Route("/metrics", answer_metrics),
            Route("/healthz", answer_health),
            Route("/readyz", answer_readiness),
        ]
    )


def bind(address: str) -> socket.socket:
    """A listening socket on HOST:PORT. Raises: OSError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
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

    def __init__(self, sock: socket.socket, make: Callable[[], Starlette]) -> None:
        self._socket = sock
        self._make = make
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        host, port = sock.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def start(self) -> None:
        import uvicorn

        config = uvicorn.Config(
            self._make(),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=2,
        )
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

    async def stop(self) -> None:
        """Ends the server; open requests get two seconds."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await asyncio.wait((self._task,), timeout=5)
        self._socket.close()

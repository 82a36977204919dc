"""`loader gateway`: the HTTP faces as a process of their own, in front of one loader, or of all that a registry lists.

Owns its start and stop: on the first signal it takes nothing new and waits for what is open, on the second it ends.
Knows no engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from loader.errors import LoaderError
from loader.gateway.front import Front
from loader.gateway.local import OPTIONS
from loader.gateway.settings import Settings
from loader.logs import start_logging
from loader.web.server import HttpServer, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from loader.client import AsyncClient
    from loader.consul_link import ConsulAccess
    from loader.web.tls import ServerTls

logger = logging.getLogger(__name__)

ENDED, ADDRESS, FORCED = 0, 4, 5  # exit codes, as of a loader


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    listen: str
    address: str  # of a loader, or a registry's URL
    zone: str = ""
    access: ConsulAccess | None = None
    credentials: Any = None
    tls: ServerTls | None = None
    drain_timeout_s: float = 30.0
    settings: Settings = field(default_factory=Settings)


def serve(options: Options) -> int:
    """Serves until told to stop; returns the exit code. On the main thread."""
    start_logging("info", "auto")
    return asyncio.run(Gateway(options).run())


class Gateway:
    """One process."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._asked = asyncio.Event()
        self._forced = asyncio.Event()
        self._front = Front(lambda: options.settings, self._opened)

    async def run(self) -> int:
        """The exit code."""
        try:
            sock = bind(self._options.listen)
        except OSError as error:
            sys.stderr.write(f"cannot listen on {self._options.listen}: {error.strerror}: try port 0\n")
            return ADDRESS
        ws_bytes = self._options.settings.message_bytes
        tls = self._options.tls
        server = HttpServer(sock, self._app, ws_bytes=ws_bytes, tls=tls.context if tls else None)
        watching = asyncio.create_task(tls.watch()) if tls else None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        try:
            await self._front.faces()
            await server.start()
            self._say_ready(server.address)
            await self._asked.wait()
            await self._drain()
        finally:
            if watching is not None:
                watching.cancel()
            await self._front.close()
            await server.stop()
        logger.info("stopped")
        return FORCED if self._forced.is_set() else ENDED

    def _say_ready(self, address: str) -> None:
        line = {"http": address, "pid": os.getpid()}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        logger.info("ready", extra={**line, "loaders": self._options.address})

    def _signalled(self) -> None:
        (self._forced if self._asked.is_set() else self._asked).set()

    async def _drain(self) -> None:
        logger.info("draining", extra={"timeout_s": self._options.drain_timeout_s})
        draining = asyncio.create_task(self._front.drain(self._options.drain_timeout_s))
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait((draining, forced), return_when=asyncio.FIRST_COMPLETED)
        for task in (draining, forced):
            task.cancel()
        await asyncio.wait((draining, forced))

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[AsyncClient]:
        from loader.client import AsyncClient

        options = self._options
        async with AsyncClient(
            options.address,
            credentials=options.credentials,
            options=OPTIONS,
            zone=options.zone,
            access=options.access,
        ) as client:
            yield client

    # ---- its own pages

    def _app(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Mount, Route

        async def answer_health(_: Request) -> Response:
            return PlainTextResponse("ok\n")

        return Starlette(
            routes=[
                Route("/healthz", answer_health),
                Route("/readyz", self._answer_readiness),
                Mount("/", self._front),
            ]
        )

    async def _answer_readiness(self, _: Request) -> Response:
        """Ready where some engine can be reached."""
        from starlette.responses import JSONResponse

        said: dict[str, Any] = {"ready": False, "engines": 0}
        try:
            said["engines"] = await (await self._front.faces()).look()
            said["ready"] = said["engines"] > 0 and not self._asked.is_set()
        except LoaderError as error:
            said["error"] = error.message
        return JSONResponse(said, 200 if said["ready"] else 503)

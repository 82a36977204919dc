"""The paths that lead to engines: which face answers a request, how many at a time, and their end.

Knows ASGI and one client of `loader.v1`; refuses to know how that client was made.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from starlette.responses import Response

from loader.errors import LoaderError
from loader.gateway.aiges.call import Call, defect, failure, reply
from loader.gateway.aiges.errors import NO_LICENCE, NOT_FOUND, AigesError, told
from loader.gateway.aiges.openapi import openapi
from loader.gateway.aiges.session import SocketSession
from loader.gateway.asgi import GoneError
from loader.gateway.catalog import Catalog
from loader.gateway.pages import ANYBODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from loader.client import AsyncClient
    from loader.gateway.catalog import Served
    from loader.gateway.settings import Settings

MOST_OPEN: Final = 1000  # calls and sessions
END_S: Final = 10.0  # for what is open to say its last word


class Faces:
    """An ASGI application."""

    def __init__(self, client: AsyncClient, settings: Callable[[], Settings]) -> None:
        self._client = client
        self._settings = settings
        self._catalog = Catalog(client)
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        self._open += 1
        self._idle.clear()
        try:
            if scope["type"] == "websocket":
                await self._serve_socket(scope, receive, send)
            else:
                await self._answer(scope, receive, send)
        except GoneError:
            pass  # nobody is there to be answered
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def drain(self, timeout_s: float) -> None:
        """Takes nothing new, and waits for what is open; what is open then is told that this is the end."""
        self._is_draining = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._closing.set_result(None)

    async def close(self) -> None:
        """Ends everything within seconds."""
        if not self._closing.done():
            self._closing.set_result(None)
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self._idle.wait()
        await self._catalog.close()

    async def look(self) -> int:
        """How many engines are served. Raises: LoaderError where nobody answers."""
        await self._catalog.ask()
        return self._catalog.count

    # ---- HTTP

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._response(scope, receive)
        except LoaderError as error:
            response = failure(told(error, is_session=False), str(uuid4()))
        except GoneError:
            raise
        except Exception as error:  # noqa: BLE001  the outermost place of a request
            response = defect(error, str(uuid4()))
        response.headers.update(ANYBODY)
        await response(scope, receive, send)

    async def _response(self, scope: Scope, receive: Receive) -> Response:
        path = scope["path"]
        if path == "/openapi.json" and scope["method"] == "GET":
            return await self._description()
        engine = await self._catalog.find(path)
        if engine is None:
            return failure(self._unknown(path), str(uuid4()), 404)
        if scope["method"] != "POST":
            error = AigesError(NOT_FOUND, f"{scope['method']} {path}: send POST, or open a WebSocket")
            response = failure(error, str(uuid4()), 405)
            response.headers["allow"] = "POST"
            return response
        if (refusal := self._refusal()) is not None:
            return failure(refusal, str(uuid4()))
        return await Call(self._client, engine, self._settings(), receive, self._closing).answer()

    async def _description(self) -> Response:
        from importlib.metadata import version

        await self._catalog.renew()
        return reply(openapi(self._catalog.engines, version("engine-loader")))

    def _unknown(self, path: str) -> AigesError:
        known = ", ".join(route for one in self._catalog.engines for route in one.routes)
        return AigesError(NOT_FOUND, f"there is no {path}: there are {known or 'no engines'}")

    def _refusal(self) -> AigesError | None:
        if self._is_draining or not self._settings().takes_new:
            return AigesError(NO_LICENCE, "service license not enough: this node takes nothing new")
        if self._open > MOST_OPEN:
            return AigesError(NO_LICENCE, f"service license not enough: {MOST_OPEN} requests are open")
        return None

    # ---- WebSockets

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        try:
            engine = await self._catalog.find(path)
        except LoaderError as error:
            return await _deny(failure(told(error, is_session=True), str(uuid4())), scope, receive, send)
        if engine is None:
            return await _deny(failure(self._unknown(path), str(uuid4()), 404), scope, receive, send)
        await receive()  # websocket.connect
        try:
            await send({"type": "websocket.accept"})
            session = self._session(engine, receive, send)
            refusal = self._refusal()
            await (session.run() if refusal is None else session.close(refusal))
        except OSError as error:
            raise GoneError from error
        return None

    def _session(self, engine: Served, receive: Receive, send: Send) -> SocketSession:
        return SocketSession(self._client, engine, self._settings(), receive, send, self._closing)


async def _deny(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses a WebSocket before it is one."""

    async def as_denial(message: Any) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await receive()
    await response({**scope, "type": "http"}, receive, as_denial)

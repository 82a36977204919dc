"""The HTTP faces before anybody has asked for an engine: pages at once, and a client of `loader.v1` at the first need.

Light: nothing of gRPC is imported, and nothing opened, until then. Knows no engine.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.types import Receive, Scope, Send

    from loader.client import AsyncClient
    from loader.gateway.faces import Faces
    from loader.gateway.settings import Settings

OFF: Final = "Not Found: engines do not answer here, as the configuration says (aiges.http)\n"
ENDING: Final = "Service Unavailable: this server ends\n"


class Front:
    """An ASGI application. `opened` makes the client that its faces use."""

    def __init__(
        self, settings: Callable[[], Settings], opened: Callable[[], AbstractAsyncContextManager[AsyncClient]]
    ) -> None:
        self._settings = settings
        self._opened = opened
        self._opening = asyncio.Lock()
        self._held = AsyncExitStack()
        self._faces: Faces | None = None
        self._is_closed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        from loader.gateway.pages import ANYBODY, answer_pings, page

        if self._is_closed:
            return await _refuse(ENDING, 503, scope, receive, send)
        if not self._settings().is_on:
            return await _refuse(OFF, 404, scope, receive, send)
        if scope["type"] == "websocket" and scope["path"] == "/ping":
            return await answer_pings(receive, send)
        response = await page(scope) if scope["type"] == "http" else None
        if response is not None:
            response.headers.update(ANYBODY)
            return await response(scope, receive, send)
        faces = await self.faces()
        return await faces(scope, receive, send)

    async def faces(self) -> Faces:
        """The faces, made when they are first needed."""
        async with self._opening:
            if self._faces is None:
                module = await asyncio.to_thread(import_module, "loader.gateway.faces")
                client = await self._held.enter_async_context(self._opened())
                self._faces = module.Faces(client, self._settings)
            return self._faces

    async def drain(self, timeout_s: float) -> None:
        """Takes no new calls and sessions, and waits for the open ones."""
        if self._faces is not None:
            await self._faces.drain(timeout_s)

    async def close(self) -> None:
        """Ends what is open, and gives back what was opened."""
        self._is_closed = True
        async with self._opening:
            if self._faces is not None:
                await self._faces.close()
            await self._held.aclose()


async def _refuse(text: str, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import PlainTextResponse

    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
    else:
        await PlainTextResponse(text, status)(scope, receive, send)

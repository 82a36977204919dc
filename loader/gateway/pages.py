"""What the HTTP port answers without any engine: Swagger UI, ping, the way to both, and permission for browsers.

Knows no loader. The files of Swagger UI come from the package swagger-ui-bundle; nothing is fetched from elsewhere.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.responses import PlainTextResponse, RedirectResponse, Response

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Receive, Scope, Send

INDEX: Final = "/swagger/index.html"
FILES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Engine Loader</title>
<link rel="stylesheet" href="swagger-ui.css">
<link rel="icon" href="favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "../openapi.json", dom_id: "#swagger-ui"})</script>
</body>
</html>
"""
ANYBODY: Final = {"access-control-allow-origin": "*"}
PREFLIGHT: Final = ANYBODY | {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "*",
    "access-control-max-age": "600",
}
PING_S: Final = 180.0
CLOSE_S: Final = 5.0  # for a client to take the end


async def page(scope: Scope) -> Response | None:
    """The answer; None: the path is another's."""
    path = scope["path"]
    if path == "/":
        return RedirectResponse(INDEX, 302)
    if scope["method"] == "OPTIONS":
        return Response(status_code=204, headers=PREFLIGHT)
    if path == "/ping":
        return PlainTextResponse("pong")
    if path == "/swagger" or path.startswith("/swagger/"):
        return await _swagger(path.removeprefix("/swagger").strip("/"))
    return None


async def _swagger(name: str) -> Response:
    if name == "":
        return RedirectResponse(INDEX, 302)
    if name == "index.html":
        return Response(PAGE, media_type="text/html")
    if name not in FILES:
        return PlainTextResponse(f"there is no /swagger/{name}\n", 404)
    return Response(await asyncio.to_thread(_content, name), media_type=FILES[name])


def _content(name: str) -> bytes:
    from swagger_ui_bundle import swagger_ui_path

    folder: Path = swagger_ui_path
    return (folder / name).read_bytes()


async def answer_pings(receive: Receive, send: Send) -> None:
    """The WebSocket /ping: "ping" is answered by "pong", everything else by itself."""
    await receive()
    await send({"type": "websocket.accept"})
    try:
        async with asyncio.timeout(PING_S):
            while (message := await receive())["type"] == "websocket.receive":
                text, data = message.get("text"), message.get("bytes")
                answer = {"text": "pong" if text == "ping" else text} if text is not None else {"bytes": data}
                await send({"type": "websocket.send", **answer})
    except TimeoutError:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await send({"type": "websocket.close", "code": 1000})
    except OSError:  # the client has gone
        return

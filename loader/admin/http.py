"""The HTTP port: /metrics, /healthz and /readyz; every other path is for the faces that engines have there.

Knows functions that answer; refuses to know engines.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether new work is wanted here, and each engine's state."""

    is_ready: bool
    engines: dict[str, str]


def make_app(metrics: Callable[[], bytes], readiness: Callable[[], Readiness], faces: ASGIApp) -> Starlette:
    """The ASGI application."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Mount, Route

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
            Mount("/", faces),
        ]
    )

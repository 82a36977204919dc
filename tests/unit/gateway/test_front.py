"""What is answered where no engine can be asked."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from loader.client import AsyncClient
from loader.gateway.front import Front
from loader.gateway.settings import Settings


def opened() -> AbstractAsyncContextManager[AsyncClient]:
    raise AssertionError("nothing is to be opened")


@pytest.mark.parametrize(
    ("is_on", "is_closed", "status", "text"),
    [(True, True, 503, b"this server ends"), (False, True, 503, b"ends"), (False, False, 404, b"aiges.http")],
)
def test_where_engines_do_not_answer_it_says_why(
    is_on: bool, is_closed: bool, status: int, text: bytes
) -> None:
    """A server that ends is not one that was configured so: its client may ask another."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        front = Front(lambda: Settings(is_on=is_on), opened)
        if is_closed:
            await front.close()
        scope = {"type": "http", "method": "POST", "path": "/v1/private/echo", "headers": []}
        await front(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == status
    assert text in sent[1]["body"]

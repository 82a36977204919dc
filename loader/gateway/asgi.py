"""Small pieces that every face needs: a client that is gone, tasks that end together. Knows no protocol."""

from __future__ import annotations

import asyncio
from typing import Any


class GoneError(Exception):
    """The client has gone: nobody waits for an answer."""


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancels what still runs, and waits for it; what it raises is dropped."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()

"""What a session keeps of a client that sends more than its engine takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loader.gateway.aiges.session import AHEAD_BYTES, Inbox


@pytest.mark.parametrize("text", ["{}", '{"header": {"a": "' + "x" * 50_000 + '"}}'])
def test_what_is_read_ahead_is_bounded_whatever_the_frames(text: str) -> None:
    """Small ones take more than their text; what is taken makes room for more."""
    count = 0

    async def receive() -> dict[str, Any]:
        nonlocal count
        count += 1
        return {"type": "websocket.receive", "text": text}

    async def read_all() -> None:
        inbox = Inbox(receive, 20)
        reading = asyncio.create_task(inbox.run())
        await asyncio.sleep(0)
        before = count
        assert before <= AHEAD_BYTES // max(1000, len(text)) + 1
        assert await inbox.next() is not None
        await asyncio.sleep(0)
        assert count == before + 1
        reading.cancel()
        await asyncio.wait((reading,))

    asyncio.run(read_all())

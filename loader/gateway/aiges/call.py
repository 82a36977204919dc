"""A POST of AIGES: one call. Reads the body within its bounds, and cancels the call of a client that is gone."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from starlette.responses import Response

from loader.errors import LoaderError
from loader.gateway.aiges.codes import CRASH
from loader.gateway.aiges.errors import (
    INVALID,
    NO_DATA,
    SESSION_TIMEOUT,
    TIMEOUT,
    AigesError,
    BadBodyError,
    told,
)
from loader.gateway.aiges.reply import Contract, encoded, header, once_payload, status_of
from loader.gateway.aiges.request import ONCE, Body, frame_of, parameters_of, read
from loader.gateway.asgi import GoneError, ended

if TYPE_CHECKING:
    from starlette.types import Receive

    from loader.client import AsyncClient, Result
    from loader.gateway.catalog import Served
    from loader.gateway.settings import Settings

logger = logging.getLogger(__name__)

CALL_S: Final = 120.0  # AIGES's waitTime of a POST
MOST_DISCARDED: Final = (
    256 << 20
)  # of a body over the limit: a client that is cut off while it sends hears no reason
FAILED: Final = 500


class Call:
    """One request, read and answered once."""

    def __init__(
        self,
        client: AsyncClient,
        engine: Served,
        settings: Settings,
        receive: Receive,
        closing: asyncio.Future[None],
    ) -> None:
        self._client = client
        self._engine = engine
        self._settings = settings
        self._receive = receive
        self._closing = closing
        self._sid = str(uuid4())

    async def answer(self) -> Response:
        """What the client is answered. Raises: GoneError."""
        try:
            body = read(await self._read_in_time())
            self._sid = body.sid
            if not body.data:
                raise AigesError(NO_DATA, "invalid data: a one-shot call without payload")
            contract = Contract(body.expect, is_once=True)
            pieces = [piece for result in await self._call(body) for piece in contract.pieces(result)]
        except AigesError as error:
            return failure(error, self._sid)
        except BadBodyError as error:
            return failure(error.told(is_session=False), self._sid)
        except LoaderError as error:
            return failure(told(error, is_session=False), self._sid)
        status = status_of(pieces) if any(one.is_final for one in pieces) else ONCE
        return reply({"header": header(0, self._sid, "success", status), "payload": once_payload(pieces)})

    async def _read_in_time(self) -> bytes:
        limit_s = self._settings.ws_session_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await self._read_body()
        except TimeoutError:
            raise AigesError(TIMEOUT, f"the body has not come within {limit_s:g} s") from None

    async def _read_body(self) -> bytes:
        parts: list[bytes] = []
        size, limit = 0, self._settings.message_bytes
        while True:
            message = await self._next()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            is_over = not message.get("more_body")
            if size > limit:
                parts.clear()
                if is_over or size > MOST_DISCARDED:
                    raise AigesError(INVALID, f"the body has more than {limit} bytes: limits.message_bytes")
            elif is_over:
                return b"".join(parts)

    async def _next(self) -> dict[str, Any]:
        limit_s = self._settings.ws_read_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                message = dict(await self._receive())
        except TimeoutError:
            raise AigesError(TIMEOUT, f"nothing of the body has come for {limit_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise GoneError
        return message

    async def _call(self, body: Body) -> list[Result]:
        """Raises: GoneError, LoaderError, AigesError."""
        parameters = parameters_of(body, self._engine, self._settings.header_pass, self._sid)
        items = frame_of(body, self._engine, ONCE)
        target = self._engine.target
        calling = asyncio.ensure_future(self._client.exec(target, items, parameters, timeout_s=CALL_S))
        leaving = asyncio.ensure_future(self._left())
        try:
            watched: set[asyncio.Future[Any]] = {calling, leaving, self._closing}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
            if leaving.done():
                raise GoneError
            raise AigesError(SESSION_TIMEOUT, "this server ends")
        finally:
            await ended(calling, leaving)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


def reply(answer: dict[str, Any], status_code: int = 200) -> Response:
    """An answer as JSON."""
    return Response(encoded(answer).encode(), status_code, media_type="application/json")


def failure(error: AigesError, sid: str, status_code: int = FAILED) -> Response:
    """An error as AIGES answers it."""
    return reply({"header": header(error.code, sid, error.text, None), "payload": None}, status_code)


def defect(error: Exception, sid: str) -> Response:
    """An error that should not be."""
    logger.error("a request failed with a defect: please report this", exc_info=error)
    return failure(AigesError(CRASH, "a defect of the loader; its log says more"), sid)

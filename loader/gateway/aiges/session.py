"""A WebSocket of AIGES: one session, from its first frame to END, an error, or a client that is gone.

Input is read ahead within a bound, so that a client that vanishes is noticed while the engine is behind; results leave
the moment they come. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import uuid4

from loader.errors import LoaderError
from loader.gateway.aiges.codes import CRASH
from loader.gateway.aiges.errors import (
    INACTIVE,
    SESSION_TIMEOUT,
    TIMEOUT,
    AigesError,
    BadBodyError,
    told,
)
from loader.gateway.aiges.reply import Contract, encoded, header, session_payloads
from loader.gateway.aiges.request import BEGIN, END, ONCE, Body, frame_of, parameters_of, read
from loader.gateway.asgi import GoneError, ended

if TYPE_CHECKING:
    from starlette.types import Receive, Send

    from loader.client import AsyncClient, AsyncSession
    from loader.gateway.catalog import Served
    from loader.gateway.settings import Settings

logger = logging.getLogger(__name__)

AHEAD_BYTES: Final = 1 << 20  # of a client that the engine is behind; one larger frame may lie over it
FRAME_BYTES: Final = 1024  # what the smallest of them takes, taken apart
SETTLE_S: Final = 5.0  # for the engine's last word after its END
CLOSE_S: Final = 30.0  # for a client to take its last frame


class Inbox:
    """The frames of one client, taken apart, in order."""

    def __init__(self, receive: Receive, read_timeout_s: float) -> None:
        self._receive_one = receive
        self._read_timeout_s = read_timeout_s
        self._frames: deque[tuple[Body, int]] = deque()
        self._bytes = 0
        self._streams: dict[str, bool] = {}  # key -> has ended
        self._is_ended = False
        self._changed = asyncio.Event()

    async def run(self) -> NoReturn:
        """Reads for ever. Raises: GoneError, BadBodyError, AigesError after the read timeout."""
        while True:
            while self._bytes > AHEAD_BYTES:
                await self._wait()
            text = await self._receive()
            if self._is_ended:
                continue  # accepted and ignored, as AIGES does
            body = read(text)
            size = FRAME_BYTES + len(text)
            self._frames.append((body, size))
            self._bytes += size
            self._is_ended = self._ends(body)
            self._changed.set()

    async def next(self) -> Body | None:
        """The next frame; None: the input has ended."""
        while not self._frames:
            if self._is_ended:
                return None
            await self._wait()
        body, size = self._frames.popleft()
        self._bytes -= size
        self._changed.set()
        return body

    def stop(self) -> None:
        """Nothing more is wanted."""
        self._frames.clear()
        self._bytes = 0
        self._is_ended = True
        self._changed.set()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _receive(self) -> str | bytes:
        limit_s = None if self._is_ended else self._read_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                message = await self._receive_one()
        except TimeoutError:
            text = f"no frame has come for {limit_s:g} s: say status 2 with the last one"
            raise AigesError(TIMEOUT, text) from None
        if message["type"] == "websocket.disconnect":
            raise GoneError
        text_or_bytes: str | bytes = message.get("text") or message.get("bytes") or ""
        return text_or_bytes

    def _ends(self, body: Body) -> bool:
        """The input is over when every stream seen so far is, or when a header says so and nothing else."""
        for one in body.data:
            is_last = body.status_of(one, BEGIN) in (END, ONCE)
            self._streams[one.key] = self._streams.get(one.key, False) or is_last
        if not body.data:
            return body.status in (END, ONCE)
        return all(self._streams.values())


class SocketSession:
    """One session."""

    def __init__(
        self,
        client: AsyncClient,
        engine: Served,
        settings: Settings,
        receive: Receive,
        send: Send,
        closing: asyncio.Future[None],
    ) -> None:
        self._client = client
        self._engine = engine
        self._settings = settings
        self._send_one = send
        self._closing = closing
        self._inbox = Inbox(receive, settings.ws_read_timeout_s)
        self._sid = str(uuid4())
        self._cid = ""
        self._is_open = False
        self._is_over = False  # the client has its last frame

    async def run(self) -> None:
        """Serves the client to the end; the WebSocket is accepted."""
        receiving = asyncio.create_task(self._inbox.run())
        serving = asyncio.create_task(self._serve())
        try:
            error = await self._end_of(receiving, serving)
        except GoneError:
            return
        finally:
            await ended(receiving, serving)
        await self.close(error)

    async def close(self, error: AigesError | None) -> None:
        """Says what went wrong, if anything did, and closes; an error that the client made itself is not told."""
        with suppress(GoneError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                if error is not None and error.code != INACTIVE:
                    await self._send({"header": header(error.code, self._sid, error.text, END, self._cid)})
                if not self._is_over:
                    await self._close_socket()

    async def _end_of(
        self, receiving: asyncio.Task[NoReturn], serving: asyncio.Task[None]
    ) -> AigesError | None:
        """Why the session is over; None: as it should. Raises: GoneError."""
        limit_s = self._settings.ws_session_timeout_s
        watched: set[asyncio.Future[Any]] = {receiving, serving, self._closing}
        done, _ = await asyncio.wait(watched, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if self._is_over and serving not in done:
            await asyncio.wait({serving}, timeout=SETTLE_S)
            return None
        if serving in done:
            return self._error_of(serving)
        if receiving in done:
            return self._error_of(receiving)
        if done:
            return AigesError(SESSION_TIMEOUT, "this server ends")
        return AigesError(TIMEOUT, f"the session has lasted {limit_s:g} s: open another one")

    def _error_of(self, task: asyncio.Task[Any]) -> AigesError | None:
        error = task.exception()
        if error is None or isinstance(error, AigesError):
            return error
        if isinstance(error, BadBodyError):
            return error.told(is_session=True)
        if isinstance(error, LoaderError):
            return told(error, is_session=True, is_open=self._is_open)
        if isinstance(error, GoneError):
            raise error
        logger.error("a session failed with a defect: please report this", exc_info=error)
        return AigesError(CRASH, "a defect of the loader; its log says more")

    # ---- serving

    async def _serve(self) -> None:
        first = await self._inbox.next() or Body()
        self._sid, self._cid = first.header.get("sid") or self._sid, first.header.get("cid", "")
        parameters = parameters_of(first, self._engine, self._settings.header_pass, self._sid)
        async with self._client.session(self._engine.target, parameters) as session:
            self._is_open = True
            await self._tell(BEGIN, None)
            pushing = asyncio.create_task(self._push(session, Contract(first.expect, is_once=False)))
            feeding = asyncio.create_task(self._feed(session, first))
            try:
                await _over(pushing, feeding)
            finally:
                await ended(pushing, feeding)

    async def _feed(self, session: AsyncSession, first: Body) -> None:
        body: Body | None = first
        while body is not None:
            if body.data:
                await session.write(frame_of(body, self._engine, BEGIN))
            body = await self._inbox.next()
        await session.end()

    async def _push(self, session: AsyncSession, contract: Contract) -> None:
        results = session.results()
        async for result in results:
            pieces = contract.pieces(result)
            for status, payload in session_payloads(pieces):
                await self._tell(status, payload)
            if any(one.is_final for one in pieces):
                break
        else:
            await self._tell(END, None)  # of an engine that says no status
        self._is_over = True
        await self._close_socket()
        self._inbox.stop()
        with suppress(LoaderError, TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                async for _ in results:  # the engine's own end, unheard
                    pass

    async def _tell(self, status: int, payload: dict[str, Any] | None) -> None:
        answer: dict[str, Any] = {"header": header(0, self._sid, "success", status, self._cid)}
        await self._send(answer if payload is None else answer | {"payload": payload})

    async def _send(self, answer: dict[str, Any]) -> None:
        try:
            await self._send_one({"type": "websocket.send", "text": encoded(answer)})
        except (OSError, RuntimeError) as error:
            raise GoneError from error

    async def _close_socket(self) -> None:
        with suppress(OSError, RuntimeError):  # it is closed already
            await self._send_one({"type": "websocket.close", "code": 1000})


async def _over(pushing: asyncio.Task[None], feeding: asyncio.Task[None]) -> None:
    """Until the last result was sent. Raises: what went wrong, by whichever of both says more."""
    await asyncio.wait({pushing, feeding}, return_when=asyncio.FIRST_COMPLETED)
    if not pushing.done():
        error = feeding.exception()
        if error is not None and not isinstance(error, LoaderError):
            raise error
        await asyncio.wait({pushing})  # whoever reads results learns why a session is over
    pushing.result()

"""Follows a config center: the first revision, every further one, and what to say back.

Knows a center and the cache of the last good revision; refuses to know engines and how a revision is applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from loader.center import Acknowledgement, AckState
from loader.errors import BadConfigError, CenterUnreachableError, LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.center import Center, Revision, RevisionCache

logger = logging.getLogger(__name__)

LOAD_S = 10.0  # with several addresses, each of which has its own limit
RETRY_S = 1.0
RETRY_MAX_S = 15.0


class Follower:
    """One loader's side of its center."""

    def __init__(self, center: Center, cache: RevisionCache | None, node: Callable[[], str]) -> None:
        self.center = center
        self.is_reachable = True
        self.cached: Revision | None = None  # served before, good then
        self.newest: Revision | None = None  # what the center held at the start
        self.serving = ""
        self.address = ""  # at which this node is announced
        self._cache = cache
        self._node = node
        self._known = ""
        self._latest: Acknowledgement | None = None
        self._to_send: Acknowledgement | None = None
        self._to_record: Revision | None = None
        self._to_save: Revision | None = None
        self._something_to_send = asyncio.Event()
        self._all_sent = asyncio.Event()
        self._all_sent.set()

    async def first(self) -> Revision:
        """What to begin with: the center's revision, or the last good one where the center has none to give.

        Raises: LoaderError when there is neither.
        """
        self.cached = await asyncio.to_thread(self._cache.load) if self._cache else None
        try:
            async with asyncio.timeout(LOAD_S):
                revision = await self.center.load()
        except (TimeoutError, LoaderError) as error:
            return self._without_center(error)
        self.newest = revision
        self._known = revision.name
        return revision

    def _without_center(self, error: TimeoutError | LoaderError) -> Revision:
        """It does not answer, or its documents cannot be read: the watch goes on about that."""
        is_away = not isinstance(error, BadConfigError)
        message = error.message if isinstance(error, LoaderError) else f"no answer in {LOAD_S:g} s"
        if self.cached is None:
            if isinstance(error, BadConfigError):
                raise error
            raise CenterUnreachableError(
                f"{self.center.url}: {message}: there is no earlier configuration to serve: start the center, "
                "or correct `center`"
            ) from None
        self.is_reachable = not is_away
        logger.warning("the last good configuration serves", extra={"error": message})
        return self.cached

    async def follow(self, offer: Callable[[Revision], None], trouble: Callable[[LoaderError], None]) -> None:
        """Offers every further revision, without end; `trouble` hears once when the center or its documents fail."""
        while True:
            try:
                await self._watch(offer, trouble)
            except Exception:  # the outermost border: after a defect, too, the next change must be heard
                logger.exception("the watch of the center failed: please report this")
            await asyncio.sleep(RETRY_S)

    async def _watch(self, offer: Callable[[Revision], None], trouble: Callable[[LoaderError], None]) -> None:
        async with contextlib.aclosing(self.center.watch(self._known)) as news:
            async for item in news:
                if isinstance(item, LoaderError):
                    self.is_reachable = not isinstance(item, CenterUnreachableError)
                    trouble(item)
                else:
                    self._known = item.name
                    self._is_back()
                    offer(item)

    def acknowledge(self, revision: str, state: AckState, error: str = "", duration_s: float = 0.0) -> None:
        """Says what became of a revision; sent when the center can be reached, the newest word only."""
        self._latest = Acknowledgement(
            self._node(), revision, state, error, self.serving, duration_s, time.time(), self.address
        )
        self._send(self._latest)

    def applied(self, revision: Revision, *, is_good: bool) -> None:
        """It serves now; a good one is remembered as the last good one, before anybody hears that it serves."""
        self.serving = revision.name
        if is_good:
            self._to_record = self._to_save = revision

    async def send(self) -> None:
        """Keeps the last good revision and sends acknowledgements, without end.

        A center that is away gets the newest word when it is back.
        """
        wait_s = RETRY_S
        while True:
            await self._something_to_send.wait()
            self._something_to_send.clear()
            await self._save()
            if await self._is_sent():
                wait_s = RETRY_S
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):  # a newer word is tried at once
                    await self._something_to_send.wait()
            wait_s = min(2 * wait_s, RETRY_MAX_S)
            self._something_to_send.set()

    async def send_last(self, limit_s: float) -> None:
        """Waits for a moment until send() has sent what there is, where the center can be reached."""
        if self.is_reachable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._all_sent.wait()

    async def _is_sent(self) -> bool:
        """Sends; False: it has to wait."""
        try:
            await self._send_once()
            return True
        except LoaderError as error:
            logger.info("acknowledgement waits", extra={"error": str(error)})
        except Exception:  # the outermost border: after a defect, too, the next word must be sent
            logger.exception("an acknowledgement failed: please report this")
        return False

    async def _save(self) -> None:
        """Here and nowhere else: two that save at once could leave the older revision."""
        revision, self._to_save = self._to_save, None
        if self._cache is not None and revision is not None:
            await asyncio.to_thread(self._cache.save, revision)

    async def _send_once(self) -> None:
        if self._to_send is not None:
            sent = self._to_send
            await self.center.acknowledge(sent)
            if self._to_send is sent:
                self._to_send = None
        if self._to_record is not None:
            revision = self._to_record
            await self.center.record(revision, self._node())
            if self._to_record is revision:
                self._to_record = None
        if self._to_send is None:
            self._all_sent.set()

    def _send(self, acknowledgement: Acknowledgement) -> None:
        self._to_send = acknowledgement
        self._all_sent.clear()
        self._something_to_send.set()

    def _is_back(self) -> None:
        if not self.is_reachable:
            self.is_reachable = True
            logger.info("center reachable again", extra={"center": self.center.url})
        if self._latest is not None:  # a center that lost its data hears it again
            self._send(self._latest)

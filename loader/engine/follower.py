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
from loader.errors import CenterUnreachableError, LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.center import Center, Revision, RevisionCache

logger = logging.getLogger(__name__)

LOAD_S = 5.0
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
        self._cache = cache
        self._node = node
        self._known = ""
        self._latest: Acknowledgement | None = None
        self._to_send: Acknowledgement | None = None
        self._to_record: Revision | None = None
        self._something_to_send = asyncio.Event()

    async def first(self) -> Revision:
        """What to begin with: the center's revision, or the last good one while the center does not answer.

        Raises: LoaderError when there is neither.
        """
        self.cached = await asyncio.to_thread(self._cache.load) if self._cache else None
        try:
            async with asyncio.timeout(LOAD_S):
                revision = await self.center.load()
        except (TimeoutError, CenterUnreachableError) as error:
            self.is_reachable = False
            message = str(error) or f"no answer in {LOAD_S} s"
            if self.cached is None:
                raise CenterUnreachableError(
                    f"{self.center.url}: {message}: start it, or correct `center`"
                ) from None
            logger.warning("center unreachable: the last good configuration serves", extra={"error": message})
            return self.cached
        self.newest = revision
        self._known = revision.name
        return revision

    async def follow(self, offer: Callable[[Revision], None], trouble: Callable[[LoaderError], None]) -> None:
        """Offers every further revision, without end; `trouble` hears once when the center or its documents fail."""
        async with contextlib.aclosing(self.center.watch(self._known)) as news:
            async for item in news:
                if isinstance(item, LoaderError):
                    self.is_reachable = not isinstance(item, CenterUnreachableError)
                    trouble(item)
                elif isinstance(item, Exception):
                    raise item
                else:
                    self._is_back()
                    offer(item)

    def acknowledge(self, revision: str, state: AckState, error: str = "", duration_s: float = 0.0) -> None:
        """Says what became of a revision; sent when the center can be reached, the newest word only."""
        self._latest = Acknowledgement(
            self._node(), revision, state, error, self.serving, duration_s, time.time()
        )
        self._send(self._latest)

    async def applied(self, revision: Revision) -> None:
        """Remembers a revision that serves now as the last good one."""
        self.serving = revision.name
        self._to_record = revision
        if self._cache is not None:
            await asyncio.to_thread(self._cache.save, revision)

    async def send(self) -> None:
        """Sends acknowledgements, without end: a center that is away gets the newest one when it is back."""
        wait_s = RETRY_S
        while True:
            await self._something_to_send.wait()
            self._something_to_send.clear()
            try:
                await self._send_once()
                wait_s = RETRY_S
            except LoaderError as error:
                logger.info("acknowledgement waits", extra={"error": str(error)})
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                self._something_to_send.set()

    async def _send_once(self) -> None:
        if self._to_record is not None:
            revision = self._to_record
            await self.center.record(revision, self._node())
            if self._to_record is revision:
                self._to_record = None
        if self._to_send is not None:
            sent = self._to_send
            await self.center.acknowledge(sent)
            if self._to_send is sent:
                self._to_send = None

    def _send(self, acknowledgement: Acknowledgement) -> None:
        self._to_send = acknowledgement
        self._something_to_send.set()

    def _is_back(self) -> None:
        if not self.is_reachable:
            self.is_reachable = True
            logger.info("center reachable again", extra={"center": self.center.url})
        if self._latest is not None:  # a center that lost its data hears it again
            self._send(self._latest)

"""The end of taking new work: by signals, by administration, for a while or for good.

Knows the data plane and the announcer; hosts and the rest of the loader are ended by others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from loader.errors import DrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._core import Server
    from loader.registry import Announcer

logger = logging.getLogger(__name__)

MARGIN_S = 5.0
FINALS_S = 0.2  # for the last words to clients whose sessions are cut


class Drain:
    """Whether new work is taken, and how the open sessions end."""

    def __init__(self, core: Server, timeout_s: Callable[[], float], tell: Callable[[str], None]) -> None:
        self.is_serving = False
        self.asked = asyncio.Event()  # to end the loader
        self.forced = asyncio.Event()  # to end it now
        self.announcer: Announcer | None = None
        self._core = core
        self._configured_s = timeout_s
        self._tell = tell
        self._asked_s: float | None = None
        self._was_signalled = False
        self._is_ready = False  # the engines are
        self._is_refusing = False  # somebody wants it so
        self._drained = asyncio.Event()

    def signalled(self) -> None:
        """SIGTERM or SIGINT: the first one drains, the second one cuts."""
        if self._was_signalled:
            logger.warning("second signal: ending now")
            self.forced.set()
        self._was_signalled = True
        self.asked.set()

    def ask(self, timeout_s: float | None) -> None:
        """The loader shall end when its sessions have, or after so many seconds."""
        self._asked_s = timeout_s
        self.asked.set()

    def note_drained(self) -> None:
        """No session is open any more, the data plane says."""
        self._drained.set()

    def begin_serving(self) -> None:
        """The engines are ready. Where a drain was asked for already, `undo` begins to serve."""
        self._is_ready = True
        self._serve()

    def undo(self) -> None:
        """Takes new work again. Raises: DrainingError where the loader ends."""
        if self.asked.is_set():
            raise DrainingError("the loader ends: nothing takes that back: start it again")
        self._is_refusing = False
        self._core.undrain()
        self._serve()
        self._tell("ended: new work is taken")
        if self.announcer is not None:
            self.announcer.resume()

    async def refuse_new_work(self, timeout_s: float | None, *, stay: bool) -> None:
        """Withdraws, turns readiness red and drains; with `stay` connections are taken and kept, for Undrain.

        What has been taken back meanwhile, or is to end the loader, is not done here any more.
        """
        self._is_refusing = True
        limit_s = self._limit_s(timeout_s)
        logger.info("draining", extra={"timeout_s": limit_s})
        self._tell(f"ends within {limit_s} s")
        if self.announcer is not None:
            await self.announcer.withdraw()
        if stay and (self.asked.is_set() or not self._is_refusing):
            return
        self.is_serving = False
        self._drained.clear()
        self._core.set_serving("", False)
        self._core.drain(limit_s, stay)

    async def begin(self) -> None:
        """Refuses new work for good."""
        await self.refuse_new_work(self._asked_s, stay=False)

    async def finish(self) -> None:
        """Waits for the open sessions; the second signal cuts them."""
        waits = [asyncio.ensure_future(one.wait()) for one in (self._drained, self.forced)]
        limit_s = self._limit_s(self._asked_s) + MARGIN_S
        try:
            await asyncio.wait(waits, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self.forced.is_set():
            self._core.drain(0.0)  # every session is told so
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINALS_S):
                    await self._drained.wait()
        elif not self._drained.is_set():
            logger.error("drain did not end: closing", extra={"open": len(self._core.sessions(""))})
        self._core.close_now()

    def _serve(self) -> None:
        if self._is_ready and not self._is_refusing:
            self.is_serving = True
            self._core.set_serving("", True)

    def _limit_s(self, timeout_s: float | None) -> float:
        return self._configured_s() if timeout_s is None else timeout_s

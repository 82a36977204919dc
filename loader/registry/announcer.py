"""Keeps this node announced: at once when engines change, seldom for mere load, not at all while it drains.

Each announcement is a write to the registry: load is told at most once a second, and only when it matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.registry.protocol import NodeEntry, Registry

logger = logging.getLogger(__name__)

LOOK_S = 1.0
WITHDRAW_S = 2.0
SHARE = 0.1  # a change of the free slots by so much of all slots is told


class Announcer:
    """Announces what `entry` says."""

    def __init__(self, registry: Registry, entry: Callable[[], NodeEntry]) -> None:
        self.is_reachable = True
        self._registry = registry
        self._entry = entry
        self._told: NodeEntry | None = None
        self._told_s = 0.0
        self._beaten_s = 0.0
        self._is_withdrawn = False  # wanted so
        self._is_gone = True  # the registry has heard it
        self._changed = asyncio.Event()
        self._busy = asyncio.Lock()

    def changed(self) -> None:
        """Engines came, went or changed their state: told now, or a second after what was told last."""
        self._changed.set()

    async def run(self) -> None:
        """Announces, beats and refreshes, without end."""
        while True:
            self._changed.clear()
            try:
                async with self._busy:
                    await self._say()
                self._note(None)
            except LoaderError as error:
                self._told = None
                self._note(error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._changed.wait()
            await asyncio.sleep(self._told_s + LOOK_S - _now_s())

    async def withdraw(self) -> None:
        """Says that this node takes no new work; bounded: a registry that is away hears it later, or by the lost
        beat."""
        self._is_withdrawn = True
        with contextlib.suppress(LoaderError, TimeoutError):
            async with asyncio.timeout(WITHDRAW_S), self._busy:
                await self._say()
        self._changed.set()

    def resume(self) -> None:
        """Announces again."""
        self._is_withdrawn = False
        self._changed.set()

    async def close(self) -> None:
        """Ends the connections; after run() was cancelled."""
        await self._registry.close()

    async def _say(self) -> None:
        """What the registry does not know yet, or that we live."""
        if self._is_withdrawn:
            if not self._is_gone:
                await self._registry.withdraw()
                self._is_gone, self._told = True, None
            return
        entry = self._entry()
        if self._told is None or is_news(self._told, entry):
            self._is_gone, self._told_s = False, _now_s()
            await self._registry.announce(entry)
            self._told, self._beaten_s = entry, _now_s()
        elif _now_s() - self._beaten_s >= self._registry.beat_s:
            await self._registry.beat()
            self._beaten_s = _now_s()

    def _note(self, error: LoaderError | None) -> None:
        if self.is_reachable == (error is None):
            return
        self.is_reachable = error is None
        if error is not None:
            logger.warning("registry unreachable", extra={"error": error.message})
        else:
            logger.info("registry reachable again")


def _now_s() -> float:
    return asyncio.get_running_loop().time()  # monotonic: a clock that is set does not matter


def is_news(told: NodeEntry, entry: NodeEntry) -> bool:
    """Whether the registry should hear of it: anything but load, or load that changes a choice."""
    if _without_load(told) != _without_load(entry):
        return True
    pairs = zip(told.engines, entry.engines, strict=True)
    return any(
        (before.slots_free == 0) != (now.slots_free == 0)
        or abs(before.slots_free - now.slots_free) >= max(1.0, SHARE * now.slots)
        for before, now in pairs
    )


def _without_load(entry: NodeEntry) -> NodeEntry:
    return replace(entry, engines=tuple(replace(one, slots_free=0) for one in entry.engines))

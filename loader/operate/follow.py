"""Follows what all nodes say of one revision, until each has settled or the time is over.

Knows centers and the names of nodes; refuses to show anything.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.center import AckState
from loader.errors import LoaderError
from loader.v1 import admin_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader.center import Acknowledgement, Center
    from loader.operate.nodes import Nodes

LOOK_S = 0.2
WAITING = (AckState.APPLYING, AckState.STALE)
NOBODY = ("any loader",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a revision on all nodes."""

    revision: str
    settled: tuple[Acknowledgement, ...]
    missing: tuple[str, ...] = ()  # nodes that have not settled
    newer: str = ""  # another revision came meanwhile

    @property
    def failed(self) -> tuple[Acknowledgement, ...]:
        """Nodes on which it does not serve."""
        return tuple(one for one in self.settled if one.state is not AckState.APPLIED)

    @property
    def is_applied(self) -> bool:
        """It serves on all nodes."""
        return not (self.failed or self.missing or self.newer)

    def reason(self) -> str:
        """Why it does not serve everywhere."""
        if self.newer:
            return f"revision {self.newer} came instead of {self.revision}: somebody else changed the configuration"
        if self.failed:
            return "; ".join(f"{one.node}: {one.state.value}: {one.error}" for one in self.failed)
        if self.missing == NOBODY:
            return "no loader is announced, and none has ever said anything: nobody serves it yet"
        if self.missing:
            return f"no word of {', '.join(self.missing)} in time: see `loader status` and their logs"
        return ""


async def names_of(center: Center, nodes: Nodes) -> list[str]:
    """Who has to acknowledge: the loaders at given addresses, those announced, or those that ever acknowledged."""
    if nodes.addresses:
        answers = await nodes.each("ListEngines", admin_pb2.ListEnginesRequest())
        return [answer.node for _, answer in answers]
    if nodes.registry is not None:
        return [one.node for one in await nodes.registry.nodes()]
    return [one.node for one in await center.acknowledgements()]


async def follow(
    center: Center,
    revision: str,
    names: list[str],
    limit_s: float,
    tell: Callable[[list[Acknowledgement]], None],
) -> Outcome:
    """Waits until every node of `names` has settled on `revision`; `tell` hears of each look. Never raises for a
    center that is away for a while. Where there is no node, there is nobody to wait for, and it serves nowhere."""
    if not names:
        return Outcome(revision, (), NOBODY)
    loop = asyncio.get_running_loop()
    end_s = loop.time() + limit_s
    settled: dict[str, Acknowledgement] = {}
    newer = ""
    while True:
        try:
            said = {one.node: one for one in await center.acknowledgements()}
            held = (await center.load()).name
        except LoaderError:
            said, held = {}, revision
        mine = {name: said[name] for name in names if name in said and said[name].revision == revision}
        tell([mine[name] for name in names if name in mine])
        settled |= {name: one for name, one in mine.items() if one.state not in WAITING}
        missing = [name for name in names if name not in settled]
        newer = held if held != revision else ""
        if not missing or newer or loop.time() >= end_s:
            return Outcome(revision, tuple(settled.values()), tuple(missing), newer)
        await asyncio.sleep(LOOK_S)

"""Drives a canary: a version gets more and more of the new sessions of its engine, or none as soon as it disappoints.

Each step is a change of weights in the center, acknowledged by all loaders, watched for an interval in the loaders'
own counts. However it ends but well, the weights are back where they were. Knows no terminal.
"""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from loader.errors import ConflictError, InvalidArgumentError, LoaderError
from loader.operate.canary import Condition, Counts, summed
from loader.operate.follow import follow, names_of
from loader.operate.site import Read, changes_between, plan_between, with_documents
from loader.operate.weights import shared, weights_of, with_version, with_weights, without_version
from loader.v1 import admin_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from loader.center import Document, Revision
    from loader.operate.nodes import Nodes
    from loader.operate.site import Site

LOOK_S = 1.0
LOOKS = 10  # in one interval, at least
UNWATCHED = 5  # looks in a row that may fail
PATIENCE = 10  # intervals, for the least number of sessions
TRIES = 5  # of a change that somebody else's came before
BUCKET = re.compile(
    r'^loader_first_result_seconds_bucket\{engine="([^"]+)",version="([^"]+)",le="([^"]+)"\}$'
)


class Phase(Enum):
    """Where a canary is."""

    APPLYING = "applying"
    WATCHING = "watching"
    ROLLING_BACK = "rolling_back"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    LEFT = "left"  # interrupted, and left as it was


@dataclass(frozen=True, slots=True)
class Progress:
    """What is told while a canary runs."""

    phase: Phase
    percent: float  # of new sessions
    message: str = ""
    elapsed_s: float = 0.0
    interval_s: float = 0.0
    new: Counts = field(default_factory=Counts)
    others: Counts = field(default_factory=Counts)
    weights: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Canary:
    """What is asked for."""

    engine: str
    version: str
    steps: tuple[float, ...]
    interval_s: float
    conditions: tuple[Condition, ...] = ()
    least_ended: int = 10
    wrapper: str = ""
    removes_old: bool = False
    acknowledge_s: float = 300.0
    author: str = "loader rollout"


class GivenUpError(LoaderError):
    """The canary is given up: the message says why."""


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for it
    """Somebody stopped it."""


class RolloutDriver:
    """One canary, from `before` to its end."""

    def __init__(
        self,
        site: Site,
        nodes: Nodes,
        canary: Canary,
        tell: Callable[[Progress], None],
        leaves: Callable[[], Awaitable[bool]],
    ) -> None:
        self._site = site
        self._nodes = nodes
        self._canary = canary
        self._tell = tell
        self._leaves = leaves
        self._stop = asyncio.Event()
        self._before: Revision | None = None
        self._held: Revision | None = None  # what we put last
        self._weights: dict[str, int] = {}
        self._percent = 0.0
        self._is_going_back = False  # nothing interrupts that

    def interrupt(self) -> None:
        """Stops it at the next look; then the weights go back, unless `leaves` says otherwise."""
        self._stop.set()

    async def run(self) -> Progress:
        """The last word. Raises: LoaderError before anything was changed, or where the way back failed, too."""
        read = self._site.read(await self._site.load_some())
        self._check(read)
        self._before = read.revision
        self._weights = weights_of(read, self._canary.engine)
        await self._nodes.all()
        try:
            await self._add()
            for percent in self._canary.steps:
                await self._step(percent)
            if self._canary.removes_old:
                await self._change("remove the old versions", self._without_old)
        except Interrupted:
            if await self._leaves():
                return self._told(Progress(Phase.LEFT, self._percent, "interrupted: left as it is"))
            return await self._back("interrupted")
        except LoaderError as error:
            return await self._back(error.message)
        except BaseException:
            await asyncio.shield(asyncio.ensure_future(self._back("ended by a defect")))
            raise
        return self._told(Progress(Phase.DONE, self._percent, "all steps done"))

    def _check(self, read: Read) -> None:
        known = weights_of(read, self._canary.engine)
        version = self._canary.version
        if version not in known and not self._canary.wrapper:
            raise InvalidArgumentError(
                f"engine {self._canary.engine} has no version {version}: there are {', '.join(known)}: "
                "add it with --wrapper PATH"
            )
        if version in known and self._canary.wrapper:
            raise InvalidArgumentError(
                f"engine {self._canary.engine} has version {version} already: leave --wrapper away"
            )
        if not any(weight for name, weight in known.items() if name != version):
            raise InvalidArgumentError(
                f"engine {self._canary.engine}: no other version than {version} gets new sessions: nothing to roll out"
            )

    async def _add(self) -> None:
        if self._canary.wrapper:
            canary = self._canary

            def added(now: Read) -> list[Document]:
                return with_version(self._site, now, canary.engine, canary.version, canary.wrapper)

            await self._change(f"add {canary.engine} {canary.version} with weight 0", added)

    # ---- one step

    async def _step(self, percent: float) -> None:
        weights = shared(self._weights, self._canary.version, percent)

        def weighted(now: Read) -> list[Document]:
            return with_weights(self._site, now, self._canary.engine, weights)

        started = await self._counts()
        self._percent = percent
        await self._change(f"{percent:g} % to {self._canary.engine} {self._canary.version}", weighted)
        await self._watch(percent, started, weights)

    async def _change(self, message: str, made: Callable[[Read], list[Document]]) -> None:
        """Puts what `made` makes of the newest revision, and waits for all loaders. Raises: LoaderError."""
        self._check_stop()
        self._tell(Progress(Phase.APPLYING, self._percent, message))
        self._held = await self._put(f"rollout: {message}", made)
        outcome = await self._acknowledged(self._held)
        if outcome:
            raise GivenUpError(f"{message}: {outcome}")

    async def _acknowledged(self, revision: Revision) -> str:
        """Empty when it serves on all loaders, else why not."""
        names = await names_of(self._site.center, self._nodes)
        waiting = asyncio.ensure_future(
            follow(self._site.center, revision.name, names, self._canary.acknowledge_s, lambda _: None)
        )
        stopped = asyncio.ensure_future(self._stop.wait())
        awaited = (waiting,) if self._is_going_back else (waiting, stopped)
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise Interrupted
        finally:
            waiting.cancel()  # no effect on one that is done
            stopped.cancel()
        outcome = waiting.result()
        return "" if outcome.is_applied else outcome.reason()

    async def _put(self, message: str, made: Callable[[Read], list[Document]]) -> Revision:
        """Others may change the configuration meanwhile: read again, a few times. Raises: LoaderError."""
        for attempt in range(TRIES):
            read = self._site.read(await self._site.load_some())
            changes = made(read)
            if not changes:
                return read.revision
            self._validated(read, changes)
            try:
                return await self._site.put(changes, read.revision, self._canary.author, message)
            except ConflictError:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("the last try returns or raises")

    def _validated(self, read: Read, changes: list[Document]) -> None:
        """Raises: BadConfigError for what would be refused. What is put is never less than valid."""
        plan_between(read, self._site.read(with_documents(read.revision, changes, read.revision.root.name)))

    def _without_old(self, read: Read) -> list[Document]:
        """Without the versions that got new sessions before."""
        revision = read.revision
        for version, weight in self._weights.items():
            if weight and version != self._canary.version:
                changes = without_version(self._site, self._site.read(revision), self._canary.engine, version)
                revision = with_documents(revision, changes, revision.root.name)
        return changes_between(read.revision, revision)

    # ---- watching

    async def _watch(
        self, percent: float, started: Mapping[tuple[str, str], Counts], weights: Mapping[str, int]
    ) -> None:
        """Until the interval is over and enough has ended. Raises: GivenUpError, Interrupted."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        interval_s = self._canary.interval_s
        look_s = min(LOOK_S, interval_s / LOOKS)
        failed, why = 0, ""
        last = dict(started)
        seen: dict[tuple[str, str], Counts] = {}
        while True:
            try:
                for key, now in (await self._counts()).items():
                    seen[key] = seen.get(key, Counts()).plus(now.since(last.get(key, Counts())))
                    last[key] = now
                failed = 0
            except LoaderError as error:
                failed, why = failed + 1, error.message
            if failed > UNWATCHED:
                raise GivenUpError(f"at {percent:g} %: the loaders cannot be watched: {why}")
            new, others = self._both(seen)
            elapsed_s = loop.time() - begun_s
            self._tell(Progress(Phase.WATCHING, percent, "", elapsed_s, interval_s, new, others, weights))
            for condition in self._canary.conditions:
                if condition.is_met(new, self._canary.least_ended):
                    raise GivenUpError(f"at {percent:g} %: {condition.said(new)}")
            if elapsed_s >= interval_s and new.ended >= self._canary.least_ended:
                return
            if elapsed_s >= PATIENCE * max(interval_s, 1.0):
                raise GivenUpError(
                    f"at {percent:g} %: only {new.ended} sessions ended in {elapsed_s:.0f} s, "
                    f"{self._canary.least_ended} are asked for (--min-sessions)"
                )
            await self._pause(look_s)

    def _both(self, seen: Mapping[tuple[str, str], Counts]) -> tuple[Counts, Counts]:
        mine = [counts for (_, version), counts in seen.items() if version == self._canary.version]
        rest = [counts for (_, version), counts in seen.items() if version != self._canary.version]
        return summed(mine), summed(rest)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Interrupted

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupted

    async def _counts(self) -> dict[tuple[str, str], Counts]:
        """By loader and version."""
        wants_times = any(one.metric == "first_result_p99" for one in self._canary.conditions)
        found: dict[tuple[str, str], Counts] = {}
        for node, answer in await self._nodes.each("ListEngines", admin_pb2.ListEnginesRequest()):
            times: Mapping[str, Mapping[float, int]] = {}
            if wants_times:
                statistics = await self._nodes.call(node, "GetStatistics", admin_pb2.GetStatisticsRequest())
                times = first_results(statistics.values, self._canary.engine)
            for status in answer.engines:
                version = status.description.version
                if status.description.name == self._canary.engine and status.is_routed:
                    found[(node.address, version)] = Counts(
                        dict(status.closed),
                        sum(instance.restarts for instance in status.instances),
                        times.get(version, {}),
                        status.open_sessions,
                    )
        return found

    # ---- the way back

    async def _back(self, why: str) -> Progress:
        """The weights as they were before. Raises: LoaderError where that fails, too."""
        at, self._is_going_back = self._percent, True
        self._tell(Progress(Phase.ROLLING_BACK, at, why))
        try:
            self._held = await self._put(f"rollout: back: {why}"[:500], self._as_before)
        except LoaderError as error:
            raise GivenUpError(
                f"{why}; and the weights could not be set back: {error.message}: `loader ctl rollback` sets them"
            ) from None
        try:
            outcome = await self._acknowledged(self._held)
        except LoaderError as error:
            outcome = error.message
        if outcome:
            raise GivenUpError(
                f"{why}; and the weights of before are put, but not all loaders have them: {outcome}"
            )
        return self._told(Progress(Phase.ROLLED_BACK, at, why))

    def _as_before(self, read: Read) -> list[Document]:
        """The very documents of before; where others have changed some meanwhile, only the weights."""
        if self._before is not None and self._held is not None and read.revision.name == self._held.name:
            return changes_between(read.revision, self._before)
        known = weights_of(read, self._canary.engine)
        wanted = {version: self._weights.get(version, 0) for version in known}
        return with_weights(self._site, read, self._canary.engine, wanted)

    def _told(self, progress: Progress) -> Progress:
        self._tell(progress)
        return progress


def first_results(values: Mapping[str, float], engine: str) -> dict[str, dict[float, int]]:
    """The histogram of the time to the first result, by version, out of GetStatistics."""
    found: dict[str, dict[float, int]] = {}
    for name, count in values.items():
        match = BUCKET.match(name)
        if match and match[1] == engine:
            bound = math.inf if match[3] == "+Inf" else float(match[3])
            found.setdefault(match[2], {})[bound] = int(count)
    return found

"""Applies revisions of the configuration, one at a time, the newest first, and says what became of each.

Knows plans and rollouts; refuses to know where revisions come from and where the answers go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loader.center import AckState, Revision
from loader.config import DeploymentKey, EffectiveConfig, effective, plan, told_with_place
from loader.engine.manifest import version_of
from loader.engine.rollout import Rollout, Wanted
from loader.engine.spec import EngineSpec, make_spec
from loader.errors import BadConfigError, LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loader.config import Plan, ServiceConfig
    from loader.engine.supervisor import Supervisor

logger = logging.getLogger(__name__)

COALESCE_S = 0.05
RECORDS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Prepared:
    """A revision that was read and found good: everything that is needed to serve it."""

    revision: Revision
    effective: EffectiveConfig
    specs: Mapping[DeploymentKey, EngineSpec]

    @property
    def service(self) -> ServiceConfig:
        return self.effective.service

    def restarted_for(self, newest: Prepared) -> Prepared:
        """The same engines with those keys of `newest` that only a new loader takes: this is one."""
        waiting = plan(self.effective, newest.effective).loader
        names = {one.key.partition(".")[0] for one in waiting}
        service = self.service.model_copy(update={name: getattr(newest.service, name) for name in names})
        return replace(self, effective=replace(self.effective, service=service))


def prepare(revision: Revision, service: ServiceConfig) -> Prepared:
    """Reads every wrapper's manifest. Raises: BadConfigError. May wait for other interpreters: not on an event loop."""
    found = effective(service, version_of)
    specs: dict[DeploymentKey, EngineSpec] = {}
    for key, config in found.deployments.items():
        with told_with_place(service, key.engine, key.version):
            specs[key] = make_spec(key.engine, config, service.place_of(key.engine, key.version))
    return Prepared(revision, found, specs)


@dataclass(slots=True)
class RolloutRecord:
    """What became of one revision here."""

    revision: str
    state: AckState = AckState.APPLYING
    error: str = ""
    time_s: float = field(default_factory=time.time)
    steps: list[str] = field(default_factory=list)
    _began_s: float = field(default_factory=time.monotonic)
    _took_s: float | None = None

    @property
    def duration_s(self) -> float:
        return time.monotonic() - self._began_s if self._took_s is None else self._took_s

    def step(self, text: str) -> None:
        """Notes a step with the seconds since the beginning; old hosts end after the rollout has."""
        self.steps.append(f"{time.monotonic() - self._began_s:.3f} s: {text}")

    def end(self, state: AckState, error: str = "") -> None:
        self._took_s = self.duration_s
        self.state, self.error = state, error


class Revisions:
    """The serving revision and the way to the next one."""

    def __init__(
        self,
        supervisor: Supervisor,
        serving: Prepared,
        read: Callable[[Revision], Prepared],
        tell: Callable[[RolloutRecord], None],
    ) -> None:
        self.serving = serving
        self.records: list[RolloutRecord] = []  # newest last
        self.counts = dict.fromkeys((state.value for state in AckState), 0)
        self._supervisor = supervisor
        self._read = read
        self._tell = tell
        self._newest: Revision | None = None
        self._applying: Revision | None = None
        self._news = asyncio.Event()
        self._is_stopping = False

    def offer(self, revision: Revision) -> None:
        """Takes the newest revision; one that is on its way to serve gives way to it."""
        self._newest = revision
        if revision != self._applying:  # a center that is back says what is on its way already
            self._news.set()

    def note(self, record: RolloutRecord) -> None:
        """Keeps and tells a record that was made elsewhere: of the start, or of a center without a document."""
        self.records = [*self.records, record][-RECORDS_KEPT:]
        self._tell(record)

    def plan_for(self, wanted: Prepared) -> Plan:
        """What it takes to serve `wanted` instead."""
        powers = {key: one.powers for key, one in self._supervisor.serving.items()}
        return plan(self.serving.effective, wanted.effective, powers)

    def stop(self) -> None:
        """Applies nothing any more, and undoes what has not flipped."""
        self._is_stopping = True
        self._news.set()

    async def run(self) -> None:
        """Applies what is offered, until stop(); cancelling it undoes what has not flipped."""
        while not self._is_stopping:
            await self._news.wait()
            await asyncio.sleep(COALESCE_S)  # several changes that arrive together are one
            self._news.clear()
            revision = self._newest
            if self._is_stopping or revision is None:
                return
            self._applying = revision
            applying = asyncio.create_task(self._apply(revision))
            newer = asyncio.create_task(self._news.wait())
            try:
                await asyncio.wait((applying, newer), return_when=asyncio.FIRST_COMPLETED)
            finally:
                newer.cancel()
                applying.cancel()  # no effect on one that is done
                while not applying.done():  # also where this is cancelled again: what became of it is told
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.wait((applying,))
                self._applying = None

    async def _apply(self, revision: Revision) -> None:
        record = RolloutRecord(revision.name)
        self.note(record)
        state, error = AckState.APPLIED, ""
        try:
            await self._serve(revision, record)
        except BadConfigError as refusal:
            state, error = AckState.REFUSED, refusal.message
        except LoaderError as failure:
            state, error = AckState.ROLLED_BACK, failure.message
        except asyncio.CancelledError:
            newest = self._newest or revision
            why = "the loader ends" if self._is_stopping else f"superseded by {newest.name}"
            state, error = AckState.ROLLED_BACK, why
        except Exception as defect:  # the outermost border: a defect must not end the watching of the center
            logger.exception("rollout failed", extra={"revision": revision.name})
            state, error = AckState.ROLLED_BACK, f"{defect!r}: please report this"
        record.end(state, error)
        self.counts[state.value] += 1
        self._tell(record)

    async def _serve(self, revision: Revision, record: RolloutRecord) -> None:
        wanted = await asyncio.to_thread(self._read, revision)
        made = self.plan_for(wanted)
        if made.loader:
            raise BadConfigError("; ".join(made.refusals()))
        target = Wanted(wanted.specs, wanted.service.drain_timeout_s)
        await Rollout(self._supervisor, made, target, record.step).run()
        self.serving = wanted

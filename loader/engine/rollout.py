"""A rollout: from the serving configuration to the wanted one, or back to where it began.

Start new hosts, update running wrappers, replace in place, flip the route: nothing is lost on the way, and until the
flip everything can be undone. Knows deployments and plans; refuses to know centers and acknowledgements.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loader.config import DeploymentKey, EnginePlan, Plan
    from loader.engine.deployment import Deployment
    from loader.engine.spec import EngineSpec
    from loader.engine.supervisor import Supervisor

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall serve: every deployment, and how long the replaced ones may take."""

    specs: Mapping[DeploymentKey, EngineSpec]
    drain_timeout_s: float

    def drain_s(self, spec: EngineSpec) -> float:
        """How long the open sessions of a deployment that is replaced may go on."""
        own = spec.config.drain_timeout_s
        return self.drain_timeout_s if own is None else own


class Rollout:
    """One change. `run()` either returns with the wanted deployments serving, or raises with the old ones serving."""

    def __init__(
        self, supervisor: Supervisor, plan: Plan, wanted: Wanted, step: Callable[[str], None]
    ) -> None:
        self._supervisor = supervisor
        self._plan = plan
        self._wanted = wanted
        self._step = step
        self._old = supervisor.serving
        self._next = dict(self._old)  # what will serve after the flip
        self._launched: list[Deployment] = []
        self._updated: dict[Deployment, EngineSpec] = {}  # with what they had before
        self._ended: dict[DeploymentKey, EngineSpec] = {}  # taken out of service before the flip: in place
        self._ends: list[asyncio.Task[None]] = []
        self._held: dict[str, int] = {}  # names whose new sessions wait, and how many milliseconds

    async def run(self) -> None:
        """Raises: LoaderError when it failed, CancelledError when a newer one comes first; then all is as before."""
        in_place: list[EnginePlan] = []
        try:
            for one in self._plan.engines:
                leaves = one.replace or one.stop
                if one.is_in_place and leaves and (one.start or one.replace):
                    in_place.append(one)
                else:
                    self._launch(one)
            await self._all_started()
            await self._update_running()
            for one in in_place:
                await self._replace_in_place(one)
            self._flip()
        except BaseException as error:
            # Nothing cuts it short: half an undo would leave names without a route, and hosts that nobody owns.
            undo = asyncio.ensure_future(self._undo(error))
            while not undo.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(undo)
            undo.result()
            raise

    # ---- the steps

    def _launch(self, one: EnginePlan) -> None:
        for key in one.stop:
            del self._next[key]
        for key in (*one.start, *one.replace):
            self._next[key] = self._launch_one(key)

    def _launch_one(self, key: DeploymentKey) -> Deployment:
        self._step(f"start {key}")
        deployment = self._supervisor.launch(self._wanted.specs[key])
        self._launched.append(deployment)
        return deployment

    async def _all_started(self) -> None:
        waiting = [asyncio.ensure_future(one.started()) for one in self._launched]
        try:
            await asyncio.gather(*waiting)  # raises at the first that fails
        finally:
            for one in waiting:
                one.cancel()

    async def _update_running(self) -> None:
        for key in [key for one in self._plan.engines for key in one.update]:
            deployment = self._old[key]
            before = self._updated[deployment] = deployment.spec
            try:
                await deployment.update(self._wanted.specs[key])
                self._step(f"update {key}")
            except EngineUnavailableError as refusal:
                self._step(f"{refusal.message}; replace {key}")
                await deployment.restore(before)
                del self._updated[deployment]
                if self._wanted.specs[key].config.replace == "in_place":
                    await self._end_and_start((key,), (key,))
                else:
                    self._next[key] = self._launch_one(key)
                    await self._all_started()

    async def _replace_in_place(self, one: EnginePlan) -> None:
        for key in one.stop:
            del self._next[key]
        await self._end_and_start((*one.replace, *one.stop), (*one.start, *one.replace))

    async def _end_and_start(
        self, leaving: tuple[DeploymentKey, ...], coming: tuple[DeploymentKey, ...]
    ) -> None:
        """Stops the old ones first; new sessions wait, or go to versions that stay."""
        name = leaving[0].engine
        routed = [one for one in self._supervisor.serving.values() if one.key not in leaving]
        if all(one.spec.name != name for one in routed):
            self._held[name] = max(self._wanted.specs[key].config.replace_wait_ms for key in coming)
        self._supervisor.route({}, routed, hold=self._held)
        for key in leaving:
            self._step(f"end {key} in place")
            self._ended[key] = self._old[key].spec
            self._ends.append(self._retire(self._old[key]))
        await asyncio.wait(self._ends)
        for key in coming:
            self._next[key] = self._launch_one(key)
        await self._all_started()

    def _flip(self) -> None:
        for one in self._launched:
            one.check()  # one that was ready may have died while the others came
        live = {
            one: self._wanted.specs[key]
            for key, one in self._next.items()
            if one.spec is not self._wanted.specs[key] and one.spec != self._wanted.specs[key]
        }
        ordered = [self._next[key] for key in self._wanted.specs]
        self._supervisor.route(live, ordered)
        self._step("flip")
        staying = set(self._next.values())
        for key, old in self._old.items():
            if old not in staying and key not in self._ended:
                self._step(f"drain {key}")
                self._retire(old)

    def _retire(self, old: Deployment) -> asyncio.Task[None]:
        """Ends an old deployment in the background; says what came back when it is gone."""
        task = self._supervisor.retire(old, self._wanted.drain_s(old.spec), "replaced")

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                gpu = f" and {old.gpu_bytes} of GPU memory" if old.gpu_bytes else ""
                self._step(f"{old.key} has ended: {old.rss_bytes} bytes of memory{gpu} came back")

        task.add_done_callback(ended)
        return task

    # ---- the way back

    async def _undo(self, error: BaseException) -> None:
        """Leaves what served before the rollout, and nothing else."""
        logger.warning("rollout undone", extra={"error": str(error) or type(error).__name__})
        self._step("undo")
        ends = [self._supervisor.retire(one, 0.0, "replaced") for one in self._launched]
        for deployment, spec in self._updated.items():
            await deployment.restore(spec)
        again = await self._start_again(ends) if self._ended else []
        kept = [one for key, one in self._old.items() if key not in self._ended]
        self._supervisor.route({}, [*kept, *again])

    async def _start_again(self, ends: list[asyncio.Task[None]]) -> list[Deployment]:
        """What was ended in place. Where there is room for one only, it must be free first."""
        await asyncio.wait([*ends, *self._ends])  # each ends by itself: at its drain's timeout, or killed
        if self._supervisor.is_stopping:
            return []
        again = []
        for key, spec in self._ended.items():
            self._step(f"start {key} again")
            again.append(self._supervisor.launch(spec))
        await asyncio.gather(*(one.started() for one in again), return_exceptions=True)
        return again

"""Every deployment of this loader and its hosts: started in parallel, watched, restarted, measured, ended.

Knows deployments and the data plane's events about them; refuses to know revisions, admin, HTTP and files.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from loader.engine.deployment import FINI_S, Deployment
from loader.engine.resources import Resources
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loader._core import Server
    from loader.config import DeploymentKey
    from loader.engine.instance import Instance
    from loader.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

MEMORY_PERIOD_S = 0.25
PERMANENT = ("BAD_WRAPPER",)  # another start cannot help


class Supervisor:
    """Owns the deployments. `spawn()` comes first and needs no event loop; then `start()`, and `stop()`."""

    def __init__(
        self,
        core: Server,
        on_change: Callable[[Deployment], None],
        tell: Callable[[str, str, str], None],
    ) -> None:
        self._core = core
        self._on_change = on_change
        self._deployments: list[Deployment] = []
        self._leaving: dict[Deployment, asyncio.Task[None]] = {}
        self._memory_task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        # Names whose new sessions wait, and what they led to before.
        self._held: dict[str, list[EngineSpec]] = {}
        self.is_stopping = False  # nothing is started any more
        self.resources = Resources(core, lambda: self._deployments, tell)

    @property
    def deployments(self) -> list[Deployment]:
        """All of them: those that serve, start and leave."""
        return list(self._deployments)

    @property
    def serving(self) -> dict[DeploymentKey, Deployment]:
        """Those that get new sessions."""
        return {one.key: one for one in self._deployments if one.is_routed}

    @property
    def held(self) -> list[EngineSpec]:
        """What is being replaced in place: new sessions for it wait here."""
        return [spec for specs in self._held.values() for spec in specs]

    # ---- the first configuration

    def spawn(self, specs: Iterable[EngineSpec]) -> None:
        """Starts and routes the first deployments. On the main thread; returns before any is ready."""
        for spec in specs:
            self._spawn(spec)
        self.route({}, self._deployments)

    def start(self) -> None:
        """Watches what spawn() started; inside the event loop."""
        loop = asyncio.get_running_loop()
        for deployment in self._deployments:
            deployment.watch(loop)
        self._memory_task = loop.create_task(self._watch_memory())

    async def settled(self) -> None:
        """Returns when every instance has been ready, or has failed, once."""
        await self._settled.wait()

    # ---- while it runs

    def launch(self, spec: EngineSpec) -> Deployment:
        """Starts a deployment that no session reaches yet."""
        deployment = self._spawn(spec)
        deployment.watch(asyncio.get_running_loop())
        return deployment

    def route(
        self,
        live: Mapping[Deployment, EngineSpec],
        routed: Iterable[Deployment],
        *,
        hold: Mapping[str, int] | None = None,
    ) -> None:
        """From now on `routed` get the new sessions, and the live keys of `live` count: all in one step.

        Sessions for the names in `hold` wait for a route that does not hold them, at most so many milliseconds.
        """
        wanted = list(routed)
        # A name that was held is told even if none of its deployments is left: who waits there must hear it.
        names = {*self._held, *(one.spec.name for one in self._deployments)}
        routes: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for one in wanted:
            config = live.get(one, one.spec).config
            routes[one.spec.name].append(
                {
                    "engine": one.id,
                    "weight": config.weight,
                    "labels": config.labels,
                    "capabilities": config.capabilities,
                }
            )
        holds = dict(hold or {})
        changes = {
            "options": {one.id: spec.core_options() for one, spec in live.items()},
            "routes": {name: rows for name, rows in routes.items() if name not in holds},
            "hold": holds,
        }
        try:
            self._core.apply(changes)
        except ValueError as error:  # nothing of it counts
            raise BadConfigError(f"the data plane refuses it: {error}") from None
        self._held = {
            name: self._held.get(name) or [one.spec for one in self.serving.values() if one.spec.name == name]
            for name in holds
        }
        for deployment, spec in live.items():
            deployment.adopt(spec)
        for one in self._deployments:
            one.is_routed = one in wanted

    def retire(self, deployment: Deployment, timeout_s: float, reason: str) -> asyncio.Task[None]:
        """Ends a deployment in the background; the task is done when its hosts are gone."""
        if deployment in self._leaving:
            return self._leaving[deployment]
        deployment.is_routed = False
        task = asyncio.get_running_loop().create_task(self._retire(deployment, timeout_s, reason))
        self._leaving[deployment] = task
        return task

    def on_event(self, event: Mapping[str, object]) -> None:
        """One event of the data plane about an instance; others are ignored."""
        instance = self._find(event.get("instance"))
        kind = event["kind"]
        if instance is None:
            return
        if kind in ("instance_initialised", "instance_resource"):
            self._on_resource(instance, event)
        elif kind == "instance_ready":
            self._became_ready(instance, event)
        elif kind == "instance_unhealthy":
            instance.unhealthy(_reason(event))
        elif kind == "log_dropped":
            instance.dropped(int(str(event["dropped_bytes"])))
        elif kind == "host_hung":
            logger.error("instance hung", extra={**instance.fields, "reason": _reason(event)})
            instance.hung(_reason(event))
        elif kind in ("host_died", "instance_failed", "instance_stopped"):
            instance.failed_at = str(event.get("stage", ""))
            instance.gone(_reason(event), is_permanent=event.get("name") in PERMANENT)
        elif kind == "instance_updated":
            instance.updated("")
        elif kind == "instance_update_failed":
            logger.warning("update refused", extra={**instance.fields, "reason": _reason(event)})
            instance.updated(_reason(event) or "no reason given")

    # ---- the end

    async def stop(self, timeout_s: float = FINI_S) -> None:
        """Ends every host: fini, then the process; what has not ended after the time is killed."""
        self.is_stopping = True
        if self._memory_task is not None:
            self._memory_task.cancel()
        for task in self._leaving.values():
            task.cancel()
        await asyncio.gather(*(one.end(timeout_s, "drain") for one in self._deployments))

    def kill(self) -> None:
        """Ends every host's process group now."""
        for deployment in self._deployments:
            deployment.kill()

    # ---- inside

    def _spawn(self, spec: EngineSpec) -> Deployment:
        deployment = Deployment(self._core, spec, self._changed)
        deployment.spawn()
        self._deployments.append(deployment)
        return deployment

    async def _retire(self, deployment: Deployment, timeout_s: float, reason: str) -> None:
        try:
            await deployment.end(timeout_s, reason)
        finally:
            self._leaving.pop(deployment, None)
        self._deployments.remove(deployment)
        deployment.remove()
        name = deployment.spec.name
        if name not in self._held and all(one.spec.name != name for one in self._deployments):
            self.resources.forget(name)
        fields = {"engine": str(deployment.key), "rss_bytes_returned": deployment.rss_bytes}
        if deployment.gpu_bytes:
            fields["gpu_bytes_returned"] = deployment.gpu_bytes
        logger.info("deployment ended", extra=fields)
        self._on_change(deployment)

    def _on_resource(self, instance: Instance, event: Mapping[str, object]) -> None:
        if event["kind"] == "instance_initialised":
            instance.initialised()
            self.resources.join(instance)
        elif instance.holding is not None:
            instance.holding.answered(event)

    def _became_ready(self, instance: Instance, event: Mapping[str, object]) -> None:
        refusal = "" if event.get("has_resources") else self.resources.refusal_of(instance)
        if refusal and instance.handle is not None:
            self._core.kill_instance(instance.handle, refusal)
            return
        instance.became_ready(
            has_update=bool(event.get("has_update")), has_fixed_slots=bool(event.get("slots_fixed"))
        )

    def _find(self, handle: object) -> Instance | None:
        instances = (i for one in self._deployments for i in one.instances)
        return next((i for i in instances if handle is not None and i.handle == handle), None)

    def _changed(self, deployment: Deployment) -> None:
        if all(one.has_settled for one in self._deployments):
            self._settled.set()
        self._on_change(deployment)

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(MEMORY_PERIOD_S)  # a sampling period, not a wait for something
            for deployment in self._deployments:
                for instance in deployment.instances:
                    instance.check_memory()


def _reason(event: Mapping[str, object]) -> str:
    return str(event.get("message") or event.get("name") or "")

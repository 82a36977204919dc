"""Every engine's instances: started in parallel, watched, restarted, measured, stopped.

Knows instances and the data plane's events about them; refuses to know admin, HTTP and files.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from loader.engine.instance import Instance, InstanceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loader._core import Server
    from loader.config.schema import EngineConfig
    from loader.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

MEMORY_PERIOD_S = 0.25
FINI_S = 10.0
PERMANENT = ("BAD_WRAPPER",)  # another start cannot help


class Engine:
    """One engine: its spec and its instances."""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec
        self.instances: list[Instance] = []
        self.is_draining = False

    @property
    def state(self) -> str:
        """As EngineDescription.state of loader.v1."""
        states = {instance.state for instance in self.instances}
        if self.is_draining or InstanceState.DRAINING in states:
            return "draining"
        if states == {InstanceState.READY}:
            return "ready"
        for state, name in (
            (InstanceState.READY, "degraded"),
            (InstanceState.STARTING, "starting"),
            (InstanceState.BACKOFF, "starting"),
            (InstanceState.FAILED, "failed"),
        ):
            if state in states:
                return name
        return "stopped"

    @property
    def is_ready(self) -> bool:
        return any(instance.state is InstanceState.READY for instance in self.instances)

    @property
    def has_update(self) -> bool:
        """A changed `config` reaches every instance live."""
        return bool(self.instances) and all(instance.has_update for instance in self.instances)

    @property
    def error(self) -> str:
        return next((i.error for i in self.instances if i.error and i.state is not InstanceState.READY), "")


class Supervisor:
    """Owns the engines. `spawn()` comes first and needs no event loop; then `start()`, and `stop()`."""

    def __init__(
        self, core: Server, specs: Iterable[EngineSpec], on_change: Callable[[Engine], None]
    ) -> None:
        self._core = core
        self._on_change = on_change
        self.engines = {spec.name: Engine(spec) for spec in specs}
        self._settled = asyncio.Event()
        self._memory_task: asyncio.Task[None] | None = None

    def spawn(self) -> None:
        """Starts every host. On the main thread; returns before any of them is ready."""
        for engine in self.engines.values():
            spec = engine.spec
            self._core.add_engine(spec.name, spec.version, spec.core_options())
            for index in range(spec.config.instances):
                instance = Instance(self._core, spec, index, lambda engine=engine: self._changed(engine))  # type: ignore[misc]
                engine.instances.append(instance)
                instance.spawn()

    def start(self) -> None:
        """Watches what spawn() started; inside the event loop."""
        loop = asyncio.get_running_loop()
        for instance in self._instances():
            instance.watch(loop)
        self._memory_task = loop.create_task(self._watch_memory())

    async def settled(self) -> None:
        """Returns when every instance has been ready, or has failed, once."""
        await self._settled.wait()

    def on_event(self, event: Mapping[str, object]) -> None:
        """One event of the data plane about an instance; others are ignored."""
        instance = self._find(event.get("instance"))
        kind = event["kind"]
        if instance is None:
            return
        if kind == "instance_ready":
            instance.became_ready(bool(event.get("has_update")))
        elif kind == "host_hung":
            logger.error("instance hung", extra={**instance.fields, "reason": _reason(event)})
            instance.hung(_reason(event))
        elif kind in ("host_died", "instance_failed", "instance_stopped"):
            instance.gone(_reason(event), is_permanent=event.get("name") in PERMANENT)
        elif kind == "instance_update_failed":
            logger.error("live update refused", extra={**instance.fields, "reason": _reason(event)})

    def update(self, engines: Mapping[str, EngineConfig]) -> None:
        """Applies the live and per-session keys of new configurations of the same engines."""
        for name, config in engines.items():
            engine = self.engines[name]
            if engine.spec.config == config:
                continue
            is_updated = engine.spec.config.config != config.config
            engine.spec = replace(engine.spec, config=config)
            for instance in engine.instances:
                instance.spec = engine.spec
            options = engine.spec.core_options()
            self._core.update_engine(name, engine.spec.version, options)
            for instance in engine.instances if is_updated else ():
                if instance.handle is not None and instance.state is InstanceState.READY:
                    self._core.update_instance(instance.handle, str(options["config_json"]))

    async def stop(self, timeout_s: float = FINI_S) -> None:
        """Ends every host: fini, then the process; what has not ended after the time is killed."""
        if self._memory_task is not None:
            self._memory_task.cancel()
        instances = list(self._instances())
        for instance in instances:
            instance.stop(timeout_s)
        waits = [asyncio.ensure_future(instance.stopped.wait()) for instance in instances]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout_s + 1)
            if late:
                self.kill()
                await asyncio.wait(late, timeout=2)
            for wait in waits:
                wait.cancel()

    def kill(self) -> None:
        """Ends every host's process group now."""
        for instance in self._instances():
            instance.kill()

    def _instances(self) -> list[Instance]:
        return [instance for engine in self.engines.values() for instance in engine.instances]

    def _find(self, handle: object) -> Instance | None:
        return next((i for i in self._instances() if handle is not None and i.handle == handle), None)

    def _changed(self, engine: Engine) -> None:
        if all(instance.has_settled for instance in self._instances()):
            self._settled.set()
        self._on_change(engine)

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(MEMORY_PERIOD_S)  # a sampling period, not a wait for something
            for instance in self._instances():
                instance.check_memory()


def _reason(event: Mapping[str, object]) -> str:
    return str(event.get("message") or event.get("name") or "")

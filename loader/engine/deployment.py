"""One deployment: one version of one engine as it runs here, from its first host to its last.

Knows its instances and the data plane; which deployments there are is the supervisor's, and why is the rollout's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from loader.config import DeploymentKey, Powers
from loader.engine import gpu
from loader.engine.instance import Instance, InstanceState
from loader.errors import BadConfigError, EngineUnavailableError, InitFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._core import Server
    from loader.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

FINI_S = 10.0
GPU_S = 2.0  # for the driver's answer
UPDATE_S = 30.0


class Deployment:
    """`spawn()` needs no event loop, so that hosts start before it does; `watch()` does."""

    def __init__(self, core: Server, spec: EngineSpec, on_change: Callable[[Deployment], None]) -> None:
        self.spec = spec
        self.instances: list[Instance] = []
        self.is_routed = False  # gets new sessions
        self.is_leaving = False  # its open sessions end, then it does
        self.rss_bytes = 0  # of its hosts, when they were told to end
        self.gpu_bytes = 0
        self.id = -1
        self._core = core
        self._on_change = on_change
        self._known = asyncio.Event()  # whether it starts

    @property
    def key(self) -> DeploymentKey:
        """Its engine and version."""
        return DeploymentKey(self.spec.name, self.spec.version)

    @property
    def label(self) -> str:
        """Its engine and version, after the place in the configuration."""
        return f"{self.spec.place}: {self.key}" if self.spec.place else str(self.key)

    @property
    def state(self) -> str:
        """As EngineDescription.state of loader.v1."""
        states = {instance.state for instance in self.instances}
        if self.is_leaving or InstanceState.DRAINING in states:
            return "draining" if states != {InstanceState.STOPPED} else "stopped"
        if states == {InstanceState.READY}:
            return "ready"
        for state, name in (
            (InstanceState.READY, "degraded"),
            (InstanceState.STARTING, "starting"),
            (InstanceState.BACKOFF, "starting"),
            (InstanceState.UNHEALTHY, "starting"),
            (InstanceState.FAILED, "failed"),
        ):
            if state in states:
                return name
        return "stopped"

    @property
    def has_ended(self) -> bool:
        """Its hosts are gone and the data plane has forgotten it."""
        return self.is_leaving and self.id < 0

    @property
    def is_ready(self) -> bool:
        return any(instance.state is InstanceState.READY for instance in self.instances)

    @property
    def has_settled(self) -> bool:
        """Every instance has been ready, or has failed, once."""
        return all(instance.has_settled for instance in self.instances)

    @property
    def _failed(self) -> Instance | None:
        """The first instance that has settled and is not ready."""
        return next((i for i in self.instances if i.has_settled and i.state is not InstanceState.READY), None)

    @property
    def error(self) -> str:
        return next((i.error for i in self.instances if i.error and i.state is not InstanceState.READY), "")

    @property
    def powers(self) -> Powers:
        """What its running wrappers can do about a changed configuration."""
        return Powers(
            takes_update=bool(self.instances)
            and all(i.has_update and i.state is InstanceState.READY for i in self.instances),
            has_fixed_slots=any(instance.has_fixed_slots for instance in self.instances),
        )

    # ---- start

    def spawn(self) -> None:
        """Starts every host. On the main thread; returns before any of them is ready. Raises: BadConfigError."""
        try:
            self.id = self._core.add_engine(self.spec.name, self.spec.version, self.spec.core_options())
        except ValueError as error:
            raise BadConfigError(f"{self.label}: {error}") from None
        for index in range(self.spec.config.instances):
            instance = Instance(self._core, self.spec, self.id, index, self._changed)
            self.instances.append(instance)
            instance.spawn()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follows what spawn() started."""
        for instance in self.instances:
            instance.watch(loop)

    async def started(self) -> None:
        """Returns when every instance is ready. Raises: InitFailedError when the first one is not."""
        await self._known.wait()
        self.check()

    def check(self) -> None:
        """Raises: InitFailedError when an instance that has started is not ready, or not any more."""
        bad = self._failed
        if bad is not None:
            stage = f" at {bad.failed_at}" if bad.failed_at else ""
            raise InitFailedError(
                f"{self.label}: did not start: failed{stage}: {bad.error or bad.state.value}"
            )

    # ---- while it runs

    def adopt(self, spec: EngineSpec) -> None:
        """Takes live keys; the data plane gets them from the caller, all at once."""
        self.spec = spec
        for instance in self.instances:
            instance.spec = spec

    async def update(self, spec: EngineSpec) -> None:
        """Hands `config` to every running wrapper. Raises: EngineUnavailableError with what the first refusal says."""
        # The data plane remembers it too: an instance that is restarted begins with it.
        config_json = str(spec.core_options()["config_json"])
        self._core.apply({"options": {self.id: {"config_json": config_json}}})
        answers = [instance.update(config_json) for instance in self.instances]
        try:
            async with asyncio.timeout(UPDATE_S):
                refusals = [text for text in await asyncio.gather(*answers) if text]
        except TimeoutError:
            raise EngineUnavailableError(f"{self.key}: update has not ended in {UPDATE_S} s") from None
        if refusals:
            raise EngineUnavailableError(f"{self.key}: update refused: {refusals[0]}")
        self.adopt(
            replace(self.spec, config=self.spec.config.model_copy(update={"config": spec.config.config}))
        )

    async def restore(self, spec: EngineSpec) -> None:
        """Takes back an update, also where only some of the wrappers have taken it."""
        for instance in self.instances:
            instance.begin_again()
        try:
            await self.update(spec)
        except EngineUnavailableError as refusal:
            logger.error("the old configuration was refused", extra={"reason": refusal.message})

    # ---- end

    async def end(self, timeout_s: float, reason: str) -> None:
        """Ends every host: its sessions may finish in `timeout_s` and are closed with `reason` then."""
        self.is_leaving = True
        self.rss_bytes = sum(i.process.rss_bytes() for i in self.instances if i.process is not None)
        if gpu.CAN_TELL:
            await self._measure_gpu()
        for instance in self.instances:
            instance.stop(timeout_s, reason)
        waits = [asyncio.ensure_future(instance.stopped.wait()) for instance in self.instances]
        try:
            if waits:
                _, late = await asyncio.wait(waits, timeout=timeout_s + FINI_S)
                if late:
                    self.kill()
                    await asyncio.wait(late, timeout=2)
        finally:
            for wait in waits:
                wait.cancel()

    async def _measure_gpu(self) -> None:
        pids = {instance.process.pid for instance in self.instances if instance.process is not None}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GPU_S):
                self.gpu_bytes = await asyncio.to_thread(gpu.gpu_bytes, pids)

    def remove(self) -> None:
        """Forgets the engine; after end()."""
        if self.id >= 0:
            self._core.remove_engine(self.id)
            self.id = -1

    def kill(self) -> None:
        """Ends every host's process group now."""
        for instance in self.instances:
            instance.kill()

    def _changed(self) -> None:
        if self.has_settled or self._failed is not None:
            self._known.set()
        self._on_change(self)

"""One instance of an engine: its states from starting to stopped, across restarts of its process.

Knows one process and the data plane; which instances exist is the supervisor's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from enum import Enum
from typing import TYPE_CHECKING

from loader.engine.process import HostProcess
from loader.engine.restart import RestartBudget

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._core import Server
    from loader.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

REAP_DELAY_S = 1.0


class InstanceState(Enum):
    """As InstanceStatus.state of loader.v1."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


_RUNNING = (InstanceState.STARTING, InstanceState.READY, InstanceState.DRAINING)


class Instance:
    """One instance. `spawn()` needs no event loop, so that hosts start before it does; `watch()` does."""

    def __init__(
        self, core: Server, spec: EngineSpec, engine: int, index: int, on_change: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.engine = engine  # the data plane's number of the deployment
        self.index = index
        self.state = InstanceState.STARTING
        self.handle: int | None = None
        self.restarts = 0
        self.has_update = False  # takes a changed `config` without being replaced
        self.has_fixed_slots = False  # takes a changed `slots` only by being replaced
        self.failed_at = ""  # load, init, warm_up or health: the stage that failed last
        self._updates: list[asyncio.Future[str]] = []
        self.has_settled = False  # ready once, or failed once: what the start of the loader waits for
        self._dropped_bytes = 0
        self.process: HostProcess | None = None
        self._told = ""  # why the last process ended, as the data plane or the supervisor says
        self._how = ""  # and as the operating system does
        self._error_of: int | None = None
        self._core = core
        self._on_change = on_change
        self._budget = RestartBudget()
        self._timers: list[asyncio.TimerHandle] = []
        self._is_stopping = False
        self._is_given_up = False
        self.stopped = asyncio.Event()

    @property
    def fields(self) -> dict[str, object]:
        """Who this is, for the log."""
        return {"engine": self.spec.name, "instance": self.index, "pid": self.pid}

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def error(self) -> str:
        """Why the last process ended; empty while one is ready."""
        return "; ".join(text for text in (self._told, self._how) if text)

    @property
    def output_dropped_bytes(self) -> int:
        """Output over the limit, of all its processes."""
        running = self.process.output.dropped_bytes if self.process and self.state in _RUNNING else 0
        return self._dropped_bytes + running

    def spawn(self) -> None:
        """Starts the process, or the inline host. Only on the main thread."""
        if self.spec.is_inline:
            self._spawn_inline()
            return
        seed = self._core.prepare_instance(self.engine, self.index)
        self.handle = seed["instance"]
        try:
            self.process = HostProcess(self.spec, self.index, seed["arguments"], seed["fds"])
        except OSError as error:
            self._core.abandon_instance(self.handle)
            self.handle = None
            self._told = f"cannot start {self.spec.command([])[0]}: {error.strerror}"
            return
        self._core.attach_instance(self.handle, self.process.pid)

    def _spawn_inline(self) -> None:
        entry = str(self.spec.manifest.entry)
        try:
            self.handle = self._core.start_inline(self.engine, self.index, entry)
        except RuntimeError as error:  # the library cannot be loaded; watch() ends the instance
            self.handle = None
            self._told = str(error)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follows the process that spawn() started."""
        if self.process is not None:
            self.process.watch(loop, self._exited)
            self._after(self.spec.config.init_timeout_s, self._init_timed_out)
        elif self.handle is None:
            self._ended()

    # ---- what the data plane says

    def became_ready(self, *, has_update: bool, has_fixed_slots: bool) -> None:
        self._cancel_timers()
        self.has_update = has_update
        self.has_fixed_slots = has_fixed_slots
        self.failed_at = ""
        if self.state is InstanceState.STARTING:
            self._told = self._how = ""
            logger.info("instance ready", extra=self.fields)
            self._enter(InstanceState.READY)

    def hung(self, reason: str) -> None:
        """Remembered; the data plane ends the process when its other sessions have had their grace."""
        self._tell(reason)

    def gone(self, reason: str, is_permanent: bool) -> None:
        """The data plane has let go of the instance: the process's number may be given to another."""
        if reason and not self._is_stopping:
            self._tell(reason)
        if self.process is None:
            if self.state in _RUNNING:  # inline: there is no process whose end would follow
                self._ended()
        elif self.state in _RUNNING:
            self.process.kill()  # its end follows
        else:
            self._reap(self.process)
        if is_permanent and self.state not in (InstanceState.STOPPED, InstanceState.DRAINING):
            self._is_given_up = True
            if self.state is InstanceState.BACKOFF:
                self._cancel_timers()
                self._give_up()

    def updated(self, refusal: str) -> None:
        """The answer to the oldest update; empty: taken."""
        if self._updates:
            answer = self._updates.pop(0)
            if not answer.done():
                answer.set_result(refusal)

    # ---- what the supervisor wants

    def update(self, config_json: str) -> asyncio.Future[str]:
        """Hands a changed `config` to the running wrapper; the future gives its refusal, or an empty text."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if self.handle is None or self.state is not InstanceState.READY:
            answer.set_result("")  # the next process begins with the new configuration
            return answer
        self._updates.append(answer)
        self._core.update_instance(self.handle, config_json)
        return answer

    def stop(self, timeout_s: float, reason: str) -> None:
        """Ends the instance when its sessions have ended, or are closed with `reason`; `stopped` is set then."""
        self._is_stopping = True
        self._cancel_timers()
        if self.handle is None or self.state in (
            InstanceState.FAILED,
            InstanceState.BACKOFF,
            InstanceState.STOPPED,
        ):
            self._enter(InstanceState.STOPPED)
            return
        self._enter(InstanceState.DRAINING)
        self._core.stop_instance(self.handle, timeout_s, reason)

    def kill(self) -> None:
        """Ends the process group now."""
        if self.process is not None:
            self.process.kill()
        elif self._is_stopping:
            self._enter(InstanceState.STOPPED)

    def check_memory(self) -> None:
        """Stops the process when it has grown beyond its limit."""
        limit = self.spec.config.memory_limit_bytes
        if not limit or self.process is None or self.handle is None or self.state not in _RUNNING:
            return
        size = self.process.rss_bytes()
        if size > limit:
            self._tell(f"{size} bytes resident, memory_limit_bytes is {limit}: raise it, or find the leak")
            logger.error("memory limit", extra={**self.fields, "rss_bytes": size, "limit_bytes": limit})
            self._core.kill_instance(self.handle, "memory_limit")

    # ---- the process

    def _init_timed_out(self) -> None:
        self._tell(f"init did not finish in init_timeout_s = {self.spec.config.init_timeout_s}: raise it")
        logger.error("init timeout", extra=self.fields)
        self.kill()

    def _exited(self) -> None:
        process = self.process
        assert process is not None
        self._note_failure()
        self._how = process.exit_text
        self._dropped_bytes += process.output.dropped_bytes
        loop = asyncio.get_running_loop()
        loop.call_later(REAP_DELAY_S, self._reap, process)
        logger.log(
            logging.INFO if self._is_stopping else logging.WARNING,
            "host ended",
            extra={**self.fields, "how": self._how, "reason": self._told},
        )
        self._ended()

    def _reap(self, process: HostProcess) -> None:
        process.reap()
        if self.process is process:
            self.process = None

    def _note_failure(self) -> None:
        """Forgets the failure of the process before this one."""
        if self._error_of != self.handle:
            self._error_of = self.handle
            self._told = self._how = ""

    def _tell(self, reason: str) -> None:
        self._note_failure()
        self._told = self._told or reason

    def _ended(self) -> None:
        """What follows an end: stopped, a restart after a wait, or giving up."""
        self._cancel_timers()
        while self._updates:
            self.updated(self.error or "the process ended")
        self.has_settled = True
        if self._is_stopping:
            self._enter(InstanceState.STOPPED)
            return
        delay_s = self._budget.next_delay_s(self.spec.config.restart, time.monotonic())
        if delay_s is None or self._is_given_up:
            self._give_up()
            return
        self._enter(InstanceState.BACKOFF)
        self._after(delay_s, self._restart)

    def _give_up(self) -> None:
        logger.error("instance given up", extra={**self.fields, "reason": self.error})
        self._enter(InstanceState.FAILED)

    def _restart(self) -> None:
        self.restarts += 1
        self._enter(InstanceState.STARTING)
        if self.process is not None:
            self._reap(self.process)
        self.process = None
        self.spawn()
        self.watch(asyncio.get_running_loop())

    def _enter(self, state: InstanceState) -> None:
        self.state = state
        if state is InstanceState.READY:
            self.has_settled = True
        if state is InstanceState.STOPPED:
            self.stopped.set()
        self._on_change()

    def _after(self, delay_s: float, call: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, call))

    def _cancel_timers(self) -> None:
        while self._timers:
            self._timers.pop().cancel()

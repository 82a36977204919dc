"""One instance of an engine: its states from starting to stopped, across restarts of its process.

Knows one process and the data plane; which instances exist is the supervisor's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from enum import Enum
from typing import TYPE_CHECKING

from loader.engine.holding import Holding
from loader.engine.process import HostProcess
from loader.engine.restart import RestartBudget
from loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._core import Server
    from loader.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

REAP_DELAY_S = 1.0
LAST_WORDS_S = 5.0  # for the data plane's word on an end
UNHEALTHY_S = 30.0  # for the sessions of an instance that says it cannot go on


class InstanceState(Enum):
    """As InstanceStatus.state of loader.v1."""

    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    BACKOFF = "backoff"
    FAILED = "failed"
    STOPPED = "stopped"


_RUNNING = (InstanceState.STARTING, InstanceState.READY, InstanceState.UNHEALTHY, InstanceState.DRAINING)


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
        self.failed_at = ""  # load, init, warm_up, resources or health: the stage that failed last
        self.holding: Holding | None = None  # its process takes personal resources
        self._updates: list[asyncio.Future[str]] = []
        self.has_settled = False  # ready once, or failed once: what the start of the loader waits for
        self._dropped_bytes = 0
        self.process: HostProcess | None = None
        self._told = ""  # why the last process ended, as the data plane or the supervisor says
        self._how = ""  # and as the operating system does
        self._error_of: int | None = None
        self._gone: int | None = None  # the handle that the data plane has let go of
        self._restart_s: float | None = None  # when to start again, once the data plane has said why it ended
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
    def label(self) -> str:
        """The same, for an error."""
        return f"instance {self.index} of {self.spec.name}@{self.spec.version}"

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    @property
    def error(self) -> str:
        """Why the last process ended; empty while one is ready."""
        return "; ".join(text for text in (self._told, self._how) if text)

    @property
    def output_dropped_bytes(self) -> int:
        """Output and log over the limit, of all its processes."""
        running = self.process.output.dropped_bytes if self.process and self.state in _RUNNING else 0
        return self._dropped_bytes + running

    def spawn(self) -> None:
        """Starts the process, or the inline host. Only on the main thread; watch() ends one that cannot start."""
        self.handle = None
        try:
            if self.spec.is_inline:
                entry = str(self.spec.manifest.entry)
                self.handle = self._core.start_inline(self.engine, self.index, entry)
            else:
                self._spawn_process()
        except (OSError, RuntimeError, LoaderError) as error:  # no program, no descriptor, no memory
            self._told, self._how = f"its host cannot be started: {error}", ""

    def _spawn_process(self) -> None:
        seed = self._core.prepare_instance(self.engine, self.index)
        try:
            self.process = HostProcess(self.spec, self.index, seed["arguments"], seed["fds"])
        except BaseException:
            self._core.abandon_instance(seed["instance"])
            raise
        self.handle = seed["instance"]
        self._core.attach_instance(self.handle, self.process.pid)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Follows the process that spawn() started."""
        if self.process is not None:
            self.process.watch(loop, self._exited)
            self._after(self.spec.config.init_timeout_s, self._init_timed_out)
        elif self.handle is None:
            logger.warning("host not started", extra={**self.fields, "reason": self._told})
            self._ended()

    # ---- what the data plane says

    def initialised(self) -> None:
        """It waits for its personal resources, and serves then."""
        if self.state is InstanceState.STARTING and self.handle is not None:
            self.holding = Holding(self._core, self.handle)

    def became_ready(self, *, has_update: bool, has_fixed_slots: bool) -> None:
        if self.state is not InstanceState.STARTING:
            return  # it has ended since
        self._cancel_timers()
        self.has_update = has_update
        self.has_fixed_slots = has_fixed_slots
        self.failed_at = self._told = self._how = ""
        logger.info("instance ready", extra=self.fields)
        self._enter(InstanceState.READY)

    def unhealthy(self, reason: str) -> None:
        """It says that it cannot serve: its sessions may end, then it is started again."""
        if self.state is not InstanceState.READY or self.handle is None:
            return
        self._tell(reason)
        logger.error("instance unhealthy", extra={**self.fields, "reason": reason})
        self._enter(InstanceState.UNHEALTHY)
        limit_s = self.spec.config.drain_timeout_s
        self._core.stop_instance(self.handle, UNHEALTHY_S if limit_s is None else limit_s, "drain")

    def hung(self, reason: str) -> None:
        """Remembered; the data plane ends the process when its other sessions have had their grace."""
        self._tell(reason)

    def gone(self, reason: str, is_permanent: bool) -> None:
        """The data plane has let go of the instance: the process's number may be given to another."""
        if reason and not self._is_stopping:
            self._tell(reason)
        self._gone = self.handle
        if self.process is None:
            if self.state in _RUNNING:  # inline: there is no process whose end would follow
                self._ended()
        elif self.state in _RUNNING:
            self.process.kill()  # its end follows
        else:
            self._reap(self.process)
        if is_permanent and self.state not in (InstanceState.STOPPED, InstanceState.DRAINING):
            self._is_given_up = True
        if self._is_given_up and self.state is InstanceState.BACKOFF:
            self._cancel_timers()
            self._give_up()
        elif self._restart_s is not None:  # what was waited for
            left_s = self._restart_s - asyncio.get_running_loop().time()
            self._cancel_timers()
            self._after(left_s, self._restart)
        if self.state in (InstanceState.BACKOFF, InstanceState.FAILED) and not self.has_settled:
            self._settle()

    def dropped(self, size_bytes: int) -> None:
        """So much of what the wrapper logged was over the limit."""
        self._dropped_bytes += size_bytes
        logger.warning("engine log dropped", extra={**self.fields, "dropped_bytes": size_bytes})

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
            answer.set_result(f"instance {self.index} is {self.state.value}")
            return answer
        try:
            self._core.update_instance(self.handle, config_json)
            self._updates.append(answer)
        except ValueError:
            answer.set_result(f"instance {self.index} has ended")
        return answer

    def begin_again(self) -> None:
        """Where it has not been ready yet: what it was started with does not hold any more."""
        if self.state is InstanceState.STARTING:
            self.kill()

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
        was_starting = self.state is InstanceState.STARTING
        self._enter(InstanceState.DRAINING)
        if was_starting:  # it has no sessions, and its init may take any time
            self._core.kill_instance(self.handle, "stopped while it was starting")
        else:
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
        if self.holding is not None:
            self.holding.end()
            self.holding = None
        while self._updates:
            self.updated(self.error or "the process ended")
        # Why it ended is known when the data plane has spoken, too.
        self.has_settled = self.has_settled or self._gone == self.handle
        if self._is_stopping:
            self._enter(InstanceState.STOPPED)
            return
        restart = self.spec.config.restart
        delay_s = self._budget.next_delay_s(restart, time.monotonic())
        if self.handle is None and delay_s is None:
            delay_s = restart.backoff_max_s  # what a process lacks to start at all may be there later
        if delay_s is None or self._is_given_up:
            self._is_given_up = True
            if self.handle is None or self._gone == self.handle:
                self._give_up()
            else:
                self._enter(InstanceState.BACKOFF)  # until the data plane has said why
                self._after(LAST_WORDS_S, self._give_up)
            return
        self._enter(InstanceState.BACKOFF)
        if self.handle is None or self._gone == self.handle:
            self._after(delay_s, self._restart)
        else:
            self._restart_s = asyncio.get_running_loop().time() + delay_s
            self._after(max(delay_s, LAST_WORDS_S), self._restart)

    def _give_up(self) -> None:
        logger.error("instance given up", extra={**self.fields, "reason": self.error})
        self._enter(InstanceState.FAILED)

    def _restart(self) -> None:
        self._cancel_timers()
        self.restarts += 1
        self.has_settled = True
        self._enter(InstanceState.STARTING)
        if self.process is not None:
            self._reap(self.process)
        self.process = None
        self.spawn()
        self.watch(asyncio.get_running_loop())

    def _settle(self) -> None:
        self.has_settled = True
        self._on_change()

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
        self._restart_s = None
        while self._timers:
            self._timers.pop().cancel()

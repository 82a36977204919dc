"""The composition root: builds every object of a loader, and owns the order of start and stop.

Start: configuration, data plane, hosts (before slow imports), HTTP, the ready line, the watch of the center.
Stop: withdrawal, readiness red, drain, hosts, HTTP, data plane. Decides nothing about sessions and rollouts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.center import AckState, Revision, RevisionCache, open_center
from loader.certificates import Certificates
from loader.config import Bootstrap, ServiceConfig, read_bootstrap, read_documents
from loader.engine.follower import Follower
from loader.engine.revisions import Prepared, Revisions, RolloutRecord, prepare
from loader.engine.supervisor import Supervisor
from loader.errors import BadConfigError, DefectError, InternalError, LoaderError, QueueFullError
from loader.logs import start_logging

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from loader._core import Server, Tls
    from loader.admin.events import EventBoard
    from loader.admin.http import HttpServer, Readiness
    from loader.admin.service import AdminService
    from loader.engine.deployment import Deployment
    from loader.registry import Announcer

logger = logging.getLogger(__name__)

DRAIN_MARGIN_S = 5.0


class ExitCode(IntEnum):
    """What the exit code of `loader --config` says."""

    OK = 0  # ended as asked; open sessions finished, or were closed at drain_timeout_s
    DEFECT = 1  # an error that should not be: please report it
    USAGE = 2  # the command line is wrong
    CONFIG = (
        3  # the configuration or a manifest is not valid, or its center does not answer; nothing was started
    )
    ADDRESS = 4  # an address cannot be bound
    FORCED = 5  # a second signal: open sessions were cut


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    config: str
    grpc: str = ""
    http: str = ""

    def override(self, config: ServiceConfig) -> ServiceConfig:
        """The configuration with the command line's addresses in place of its own."""
        update = {key: value for key, value in (("grpc", self.grpc), ("http", self.http)) if value}
        return config.model_copy(update=update)


def serve(settings: Settings) -> int:
    """Serves until told to stop; returns the exit code. On the main thread."""
    start_logging("info", "auto")
    try:
        return asyncio.run(_serve(settings))
    except BadConfigError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.ADDRESS


async def _serve(settings: Settings) -> int:
    app = App(settings)
    try:
        await app.start()
        return await app.run()
    finally:
        await app.close()


class Stages:
    """How long each stage of the start took, from the start of the process."""

    def __init__(self) -> None:
        started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        self._last_s = started_ticks / os.sysconf("SC_CLK_TCK")
        self.seconds: dict[str, float] = {}
        self.end("imports")

    def end(self, stage: str) -> None:
        """Ends a stage; the next begins."""
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.seconds[stage] = round(now_s - self._last_s, 3)
        self._last_s = now_s


class App:
    """One loader."""

    _core: Server
    _supervisor: Supervisor
    _revisions: Revisions

    def __init__(self, settings: Settings) -> None:
        self._stages = Stages()
        self._settings = settings
        self._bootstrap: Bootstrap = read_bootstrap(settings.config)
        self._center = open_center(self._bootstrap.center, self._bootstrap.access)
        self._follower = Follower(self._center, self._cache(), lambda: self._node)
        self._node = ""
        self._grpc_address = ""
        self._admin_address = ""
        self._certificates: Certificates | None = None
        self._is_serving = False
        self._is_started = False
        self._was_signalled = False
        self._stop_asked = asyncio.Event()
        self._drain_timeout_s: float | None = None
        self._drained = asyncio.Event()
        self._forced = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._admin: AdminService | None = None
        self._board: EventBoard | None = None
        self._http: HttpServer | None = None
        self._announcer: Announcer | None = None

    @property
    def _config(self) -> ServiceConfig:
        return self._revisions.serving.service

    def _cache(self) -> RevisionCache | None:
        """Of the last good revision: for a center that may be out of reach. A file is where it is."""
        if self._bootstrap.center.startswith("file:"):
            return None
        base = str(self._bootstrap.over.values.get("cache") or "")
        default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "engine-loader"
        return RevisionCache(Path(base) if base else default, self._center.url)

    # ---- start

    async def start(self) -> None:
        """Listens and spawns every host. Raises: OSError for an address, LoaderError for the configuration."""
        first = await self._first()
        self._stages.end("configuration")
        config = first.service
        start_logging(config.log.level, config.log.format)
        from loader._core import Server

        self._core = Server(core_options(config))
        self._supervisor = Supervisor(self._core, self._deployment_changed)
        self._revisions = Revisions(self._supervisor, first, self._read, self._rollout_told)
        self._core.start()
        self._is_started = True
        self._certificates = Certificates(self._core, config.tls) if config.tls else None
        tls = self._certificates.load() if self._certificates else None
        self._grpc_address = self._listen(config.grpc, "public", tls)
        if config.admin_listen:
            self._admin_address = self._listen(config.admin_listen, "admin", None)
        self._node = config.node or f"{socket.gethostname()}-{self._grpc_address.rpartition(':')[2]}"
        self._stages.end("data plane")
        self._supervisor.spawn(first.specs.values())
        self._stages.end("hosts spawned")

    async def _first(self) -> Prepared:
        """What to begin with. The last good revision comes before a newer one, which then has to prove itself."""
        revision = await self._follower.first()
        cached = self._follower.cached
        if cached is not None and cached.name != revision.name:
            with contextlib.suppress(LoaderError):  # it was good once: a wrapper may have gone since
                return self._read(cached)
        return self._read(revision)

    def _listen(self, address: str, tag: str, tls: Tls | None) -> str:
        try:
            return self._core.listen(address, tag, tls)
        except RuntimeError as error:
            raise OSError(f"{error}: is another loader running? try port 0") from None
        except ValueError as error:
            raise OSError(f"{error}: give HOST:PORT of this machine, or unix:PATH") from None

    async def run(self) -> int:
        """Serves until a signal or a drain; returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._core.event_fd(), self._take_events)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        self._supervisor.start()
        await self._start_control()
        if not self._stop_asked.is_set():
            self._start_following()
            await self._stop_asked.wait()
        await self._drain()
        return ExitCode.FORCED if self._forced.is_set() else ExitCode.OK

    async def _start_control(self) -> None:
        """Starts admin and HTTP while hosts initialise, then says that all is ready, unless told to stop first."""
        # Imported here: the hosts are already starting while this takes its 100 ms.
        from loader.admin.events import EventBoard
        from loader.admin.http import HttpServer, bind, make_app
        from loader.admin.metrics import exposition
        from loader.admin.service import AdminService

        try:
            sock = bind(self._config.http)
        except OSError as error:
            raise OSError(
                f"cannot listen on {self._config.http}: {error.strerror}: try --http with port 0"
            ) from None
        self._board = EventBoard(self._core)
        self._admin = AdminService(self._core, self._supervisor, self)
        self._http = HttpServer(
            sock, lambda: make_app(lambda: exposition(self._core, self._supervisor, self), self._readiness)
        )
        await self._http.start()
        self._stages.end("control plane")
        settled = asyncio.ensure_future(self._supervisor.settled())
        stopping = asyncio.ensure_future(self._stop_asked.wait())
        await asyncio.wait((settled, stopping), return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        stopping.cancel()
        if self._stop_asked.is_set():
            return
        self._stages.end("engines ready")
        self._is_serving = True
        self._core.set_serving("", True)
        self._say_ready()

    def _say_ready(self) -> None:
        assert self._http is not None
        line = {
            "grpc": self._grpc_address,
            "http": self._http.address,
            "pid": os.getpid(),
            "engines": self._engine_states(),
        }
        if self._admin_address:
            line["admin"] = self._admin_address
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        logger.info("ready", extra={**line, "stages_s": self._stages.seconds})

    def _start_following(self) -> None:
        """Tells what became of the first revision, and takes what comes after it."""
        serving = self._revisions.serving.revision
        failed = [f"{one.key}: {one.error}" for one in self._supervisor.deployments if not one.is_ready]
        record = RolloutRecord(serving.name)
        record.end(AckState.APPLIED, "; ".join(failed))
        self._revisions.note(record)
        if self._follower.newest is not None and self._follower.newest != serving:
            self._revisions.offer(self._follower.newest)
        self._begin(self._follower.follow(self._revisions.offer, self._center_troubled))
        self._begin(self._follower.send())
        self._begin(self._revisions.run())
        if self._certificates is not None:
            self._begin(self._certificates.watch())
        self._start_announcing()

    def _start_announcing(self) -> None:
        from loader.admin.announcement import Announcement
        from loader.registry import Announcer, advertised, open_registry

        center = self._bootstrap.center
        url = self._config.registry or (center if center.startswith("consul") else "")
        if not url:
            return
        address = advertised(self._config.advertise, self._grpc_address)
        registry = open_registry(url, self._bootstrap.access)
        made = Announcement(self._core, self._supervisor, lambda: self._config, self._node, address)
        self._announcer = Announcer(registry, made.entry)
        self._begin(self._announcer.run())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task ended with a defect: please report this", exc_info=task.exception())

    def _engine_states(self) -> dict[str, str]:
        """The state of each engine by name: of the version with the most weight where there are several."""
        by_weight = sorted(self._supervisor.serving.values(), key=lambda one: one.spec.config.weight)
        return {one.spec.name: one.state for one in by_weight}

    def _readiness(self) -> Readiness:
        from loader.admin.http import Readiness

        is_ready = self._is_serving and any(one.is_ready for one in self._supervisor.serving.values())
        return Readiness(is_ready, self._engine_states())

    # ---- while it runs

    def _deployment_changed(self, deployment: Deployment) -> None:
        logger.debug("engine state", extra={"engine": str(deployment.key), "state": deployment.state})
        text = f"{deployment.state}: {deployment.error}" if deployment.error else deployment.state
        self._tell("engine_state", str(deployment.key), text)
        if self._announcer is not None:
            self._announcer.changed()

    def _tell(self, kind: str, engine: str, message: str) -> None:
        if self._board is not None:
            self._board.tell(kind, engine, message)

    def _take_events(self) -> None:
        for event in self._core.take_events():
            try:
                self._take(event)
            except Exception:  # the outermost loop: one event that is not understood must not hide the others
                logger.exception("event failed", extra={"kind": event.get("kind")})

    def _take(self, event: Mapping[str, Any]) -> None:
        kind = event["kind"]
        if kind == "admin_call":
            self._answer_admin(event)
        elif kind == "admin_cancelled":
            if self._board is not None:
                self._board.remove(event["call_id"])
        elif kind == "drained":
            self._drained.set()
        elif kind == "log":
            _log_engine(event)
        else:
            self._supervisor.on_event(event)

    def _answer_admin(self, event: Mapping[str, Any]) -> None:
        call, method = event["call_id"], str(event["method"])
        try:
            if self._admin is None or self._board is None:
                raise InternalError("the loader is still starting: ask again")
            if event.get("stream"):
                if not self._board.add(call):
                    raise QueueFullError("too many watch events here: end one of the others first")
                return
            payload = self._admin.answer(method, event["request"])
        except LoaderError as error:
            self._core.answer_admin(call, None, (error.code, error.message))
        except Exception as error:  # the outermost border: a defect must not take the loader down
            logger.exception("admin call failed", extra={"method": method})
            defect: DefectError = InternalError(f"{method}: {error!r}: please report this")
            self._core.answer_admin(call, None, (defect.code, defect.message))
        else:
            self._core.answer_admin(call, payload, None)

    # ---- revisions

    def _read(self, revision: Revision) -> Prepared:
        """The revision, ready to be served. Raises: BadConfigError. May wait for other interpreters."""
        documents = {self._center.origin_of(one.name): one.text for one in revision.documents}
        config = read_documents(documents, self._bootstrap.folder, self._bootstrap.over)
        return prepare(revision, self._settings.override(config))

    def _rollout_told(self, record: RolloutRecord) -> None:
        """What became of a revision goes to the log, the watchers and the center."""
        level = logging.WARNING if record.error else logging.INFO
        fields = {"revision": record.revision, "state": record.state.value, "error": record.error}
        logger.log(level, "configuration", extra={**fields, "duration_s": round(record.duration_s, 3)})
        self._tell("rollout", "", f"{record.revision} {record.state.value} {record.error}".rstrip())
        if record.state is AckState.APPLIED:
            serving = self._revisions.serving
            start_logging(serving.service.log.level, serving.service.log.format)
            self._begin(self._follower.applied(serving.revision))
        self._follower.acknowledge(record.revision, record.state, record.error, record.duration_s)

    def _center_troubled(self, error: LoaderError) -> None:
        """The center is out of reach, or its documents cannot be read: what serves goes on."""
        logger.warning("center", extra={"error": error.message})
        self._tell("center", "", error.message)
        record = RolloutRecord(self._revisions.serving.revision.name)
        record.end(AckState.REFUSED if self._follower.is_reachable else AckState.STALE, error.message)
        self._revisions.note(record)

    # ---- what AdminService asks (admin.service.Node)

    @property
    def node(self) -> str:
        """The node's name."""
        return self._node

    @property
    def records(self) -> list[RolloutRecord]:
        """The rollouts, newest first."""
        return self._revisions.records[::-1]

    @property
    def revision(self) -> str:
        """The revision that serves."""
        return self._revisions.serving.revision.name

    @property
    def is_draining(self) -> bool:
        return not self._is_serving

    @property
    def rollout_counts(self) -> Mapping[str, int]:
        """How many revisions ended in each state."""
        return self._revisions.counts

    @property
    def is_center_reachable(self) -> bool:
        return self._follower.is_reachable

    @property
    def is_registry_reachable(self) -> bool:
        return self._announcer is None or self._announcer.is_reachable

    def drain(self, timeout_s: float | None, *, stay: bool) -> int:
        """Takes no new work from now on, and ends then unless it shall stay; the sessions still open."""
        open_sessions = len(self._core.sessions(""))
        if stay:
            self._begin(self._refuse_new_work(timeout_s))
        else:
            self._drain_timeout_s = timeout_s
            self._stop_asked.set()
        return open_sessions

    def undrain(self) -> None:
        """Takes new work again."""
        self._core.undrain()
        self._is_serving = True
        self._core.set_serving("", True)
        self._tell("drain", "", "ended: new work is taken")
        if self._announcer is not None:
            self._announcer.resume()

    # ---- stop

    def _signalled(self) -> None:
        if self._was_signalled:
            logger.warning("second signal: ending now")
            self._forced.set()
            self._core.close_now()
            self._drained.set()
        self._was_signalled = True
        self._stop_asked.set()

    def _drain_s(self, timeout_s: float | None) -> float:
        return self._config.drain_timeout_s if timeout_s is None else timeout_s

    async def _refuse_new_work(self, timeout_s: float | None) -> None:
        """Withdraws, turns readiness red and drains."""
        limit_s = self._drain_s(timeout_s)
        logger.info("draining", extra={"timeout_s": limit_s})
        self._tell("drain", "", f"ends within {limit_s} s")
        if self._announcer is not None:
            await self._announcer.withdraw()
        self._is_serving = False
        self._drained.clear()
        self._core.set_serving("", False)
        self._core.drain(limit_s)

    async def _drain(self) -> None:
        """Refuses new work and waits for the open sessions, at most drain_timeout_s."""
        await self._refuse_new_work(self._drain_timeout_s)
        if self._forced.is_set():
            return
        try:
            async with asyncio.timeout(self._drain_s(self._drain_timeout_s) + DRAIN_MARGIN_S):
                await self._drained.wait()
        except TimeoutError:
            logger.error("drain did not end: closing", extra={"open": len(self._core.sessions(""))})
            self._core.close_now()

    async def close(self) -> None:
        """Ends everything that was started, in any state of the start."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_MARGIN_S)
        if self._is_started:
            await self._close_data_plane()
        if self._announcer is not None:
            await self._announcer.close()
        await self._center.close()

    async def _close_data_plane(self) -> None:
        if self._forced.is_set():
            self._supervisor.kill()
        stopping = asyncio.create_task(self._supervisor.stop())
        forced = asyncio.create_task(self._forced.wait())
        await asyncio.wait((stopping, forced), return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            self._supervisor.kill()
            await stopping
        forced.cancel()
        if self._http is not None:
            await self._http.stop()
        asyncio.get_running_loop().remove_reader(self._core.event_fd())
        self._core.stop()
        logger.info("stopped")


def core_options(config: ServiceConfig) -> dict[str, Any]:
    """The data plane's options, in its own words."""
    limits = config.limits
    return {
        "shards": config.data_plane_threads or max(1, (os.cpu_count() or 1) // 8),
        "busy_poll_us": config.busy_poll_us,
        "arena_bytes": config.arena_bytes,
        "max_message_bytes": limits.message_bytes,
        "stream_window_bytes": limits.stream_window_bytes,
        "max_connections": limits.connections,
        "max_concurrent_streams": limits.streams_per_connection,
        "max_header_bytes": limits.header_bytes,
        "max_deadline_ms": limits.deadline_ms,
    }


DEFAULT_LEVEL = logging.INFO


def _log_engine(event: Mapping[str, Any]) -> None:
    """A line that a wrapper logged."""
    fields = {key: value for key, value in event.items() if key not in ("kind", "level", "text", "message")}
    text = str(event.get("text", event.get("message", "")))
    level = int(event.get("level", DEFAULT_LEVEL))  # loader_log levels are those of logging
    logging.getLogger("loader.engine.log").log(level, "engine log", extra={**fields, "line": text})

"""The composition root: builds every object of a loader, and owns the order of start and stop.

Start: configuration, data plane, hosts (before slow imports), event loop, HTTP, the ready line.
Stop: readiness red, drain, hosts, HTTP, data plane. Decides nothing about sessions.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.center import FileCenter, Revision
from loader.certificates import Certificates
from loader.config import DeploymentKey, Plan, Powers, ServiceConfig, effective, plan, read_config
from loader.engine.manifest import version_of
from loader.engine.spec import make_spec
from loader.engine.supervisor import Engine, Supervisor
from loader.errors import BadConfigError, DefectError, InternalError, LoaderError, QueueFullError
from loader.logs import start_logging

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader._core import Server, Tls
    from loader.admin.events import EventBoard
    from loader.admin.http import HttpServer, Readiness
    from loader.admin.service import AdminService, RolloutRecord

logger = logging.getLogger(__name__)

ROLLOUTS_KEPT = 100
DRAIN_MARGIN_S = 5.0


class ExitCode(IntEnum):
    """What the exit code of `loader --config` says."""

    OK = 0  # ended as asked; open sessions finished, or were closed at drain_timeout_s
    DEFECT = 1  # an error that should not be: please report it
    USAGE = 2  # the command line is wrong
    CONFIG = 3  # the configuration or a manifest is not valid; nothing was started
    ADDRESS = 4  # an address cannot be bound
    FORCED = 5  # a second signal: open sessions were cut


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    config: Path
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
        app = App(settings)
    except BadConfigError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    try:
        app.start_data_plane()
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        app.abort()
        return ExitCode.ADDRESS
    except BadConfigError as error:
        sys.stderr.write(f"{error}\n")
        app.abort()
        return ExitCode.CONFIG
    return asyncio.run(app.run())


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

    def __init__(self, settings: Settings) -> None:
        self._stages = Stages()
        self._settings = settings
        self._center = FileCenter(settings.config)
        revision = self._center.load()
        self._config = self._read(revision)
        self._revision = revision.name
        start_logging(self._config.log.level, self._config.log.format)
        specs = [make_spec(name, engine) for name, engine in self._config.engines.items()]
        from loader._core import Server

        self._core: Server = Server(core_options(self._config))
        self._supervisor = Supervisor(self._core, specs, self._engine_changed)
        self._grpc_address = ""
        self._admin_address = ""
        self._certificates: Certificates | None = None
        self._is_serving = False
        self._stop_asked = asyncio.Event()
        self._drain_timeout_s: float | None = None
        self._drained = asyncio.Event()
        self._forced = asyncio.Event()
        self._rollouts: list[RolloutRecord] = []
        self._admin: AdminService | None = None
        self._board: EventBoard | None = None
        self._http: HttpServer | None = None
        self._stages.end("configuration")

    # ---- start

    def start_data_plane(self) -> None:
        """Listens and spawns every host. Raises: OSError for an address, BadConfigError for key files."""
        self._core.start()
        config = self._config
        self._certificates = Certificates(self._core, config.tls) if config.tls else None
        tls = self._certificates.load() if self._certificates else None
        self._grpc_address = self._listen(config.grpc, "public", tls)
        if config.admin_listen:
            self._admin_address = self._listen(config.admin_listen, "admin", None)
        self._stages.end("data plane")
        self._supervisor.spawn()
        self._stages.end("hosts spawned")

    def abort(self) -> None:
        """Undoes a start that failed."""
        self._supervisor.kill()
        self._core.stop()

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
        watchers: list[asyncio.Task[None]] = []
        try:
            if await self._start_control():
                watchers.append(asyncio.create_task(self._watch_center()))
                if self._certificates is not None:
                    watchers.append(asyncio.create_task(self._certificates.watch()))
                await self._stop_asked.wait()
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            await self._stop()
            return ExitCode.ADDRESS
        for watcher in watchers:
            watcher.cancel()
        await self._drain()
        await self._stop()
        return ExitCode.FORCED if self._forced.is_set() else ExitCode.OK

    async def _start_control(self) -> bool:
        """Starts admin and HTTP while hosts initialise, then says that all is ready; False: told to stop first."""
        # Imported here: the hosts are already starting while this takes its 100 ms.
        from loader.admin.events import EventBoard
        from loader.admin.http import HttpServer, bind, make_app
        from loader.admin.metrics import exposition
        from loader.admin.service import AdminService, RolloutRecord

        try:
            sock = bind(self._config.http)
        except OSError as error:
            raise OSError(
                f"cannot listen on {self._config.http}: {error.strerror}: try --http with port 0"
            ) from None
        self._rollouts.append(RolloutRecord(self._revision, "applied"))
        self._board = EventBoard(self._core)
        self._admin = AdminService(
            self._core, self._supervisor, self._drain_asked, lambda: self._rollouts[::-1]
        )
        self._http = HttpServer(
            sock, lambda: make_app(lambda: exposition(self._core, self._supervisor), self._readiness)
        )
        await self._http.start()
        self._stages.end("control plane")
        settled = asyncio.ensure_future(self._supervisor.settled())
        stopping = asyncio.ensure_future(self._stop_asked.wait())
        await asyncio.wait((settled, stopping), return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        stopping.cancel()
        if self._stop_asked.is_set():
            return False
        self._stages.end("engines ready")
        self._is_serving = True
        self._core.set_serving("", True)
        self._say_ready()
        return True

    def _say_ready(self) -> None:
        assert self._http is not None
        engines = {name: engine.state for name, engine in self._supervisor.engines.items()}
        line = {
            "grpc": self._grpc_address,
            "http": self._http.address,
            "pid": os.getpid(),
            "engines": engines,
        }
        if self._admin_address:
            line["admin"] = self._admin_address
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        logger.info("ready", extra={**line, "stages_s": self._stages.seconds})

    def _readiness(self) -> Readiness:
        from loader.admin.http import Readiness

        engines = self._supervisor.engines
        is_ready = self._is_serving and any(engine.is_ready for engine in engines.values())
        return Readiness(is_ready, {name: engine.state for name, engine in engines.items()})

    # ---- while it runs

    def _engine_changed(self, engine: Engine) -> None:
        logger.debug("engine state", extra={"engine": engine.spec.name, "state": engine.state})
        self._tell(
            "engine_state",
            engine.spec.name,
            f"{engine.state}: {engine.error}" if engine.error else engine.state,
        )

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

    async def _watch_center(self) -> None:
        async for revision in self._center.watch(self._stop_asked):
            self._apply(revision)

    def _read(self, revision: Revision) -> ServiceConfig:
        return self._settings.override(read_config(revision.text, str(self._settings.config)))

    def _plan(self, wanted: ServiceConfig) -> Plan:
        powers = {
            DeploymentKey(name, engine.spec.version): Powers(takes_update=engine.has_update)
            for name, engine in self._supervisor.engines.items()
        }
        return plan(effective(self._config, version_of), effective(wanted, version_of), powers)

    def _apply(self, revision: Revision) -> None:
        """Applies a revision that changes live and per-session keys only; refuses any other, whole."""
        from loader.admin.service import RolloutRecord

        error = ""
        try:
            wanted = self._read(revision)
            made = self._plan(wanted)
            refusals = made.refusals()
            refusals += [
                f"engines.{e.engine}: asks for new instances" for e in made.engines if e.is_restarting
            ]
            if refusals:
                raise BadConfigError(
                    "; ".join(refusals) + ": not possible while running in this version: restart"
                )
            self._supervisor.update(wanted.engines)
            start_logging(wanted.log.level, wanted.log.format)
            self._config = wanted
            self._revision = revision.name
        except BadConfigError as refused:
            error = refused.message
        state = "refused" if error else "applied"
        self._rollouts = [*self._rollouts, RolloutRecord(revision.name, state, error)][-ROLLOUTS_KEPT:]
        self._center.acknowledge(revision.name, state, error)
        self._tell("config", "", f"{revision.name} {state} {error}".rstrip())

    # ---- stop

    def _signalled(self) -> None:
        if self._stop_asked.is_set():
            logger.warning("second signal: ending now")
            self._forced.set()
            self._core.close_now()
            self._drained.set()
        self._stop_asked.set()

    def _drain_asked(self, timeout_s: float | None) -> int:
        """A drain through AdminService; the sessions still open."""
        self._drain_timeout_s = timeout_s
        self._stop_asked.set()
        return len(self._core.sessions(""))

    async def _drain(self) -> None:
        """Refuses new work and waits for the open sessions, at most drain_timeout_s."""
        self._is_serving = False
        timeout_s = self._config.drain_timeout_s if self._drain_timeout_s is None else self._drain_timeout_s
        logger.info("draining", extra={"timeout_s": timeout_s})
        self._tell("drain", "", f"ends within {timeout_s} s")
        self._core.set_serving("", False)
        self._core.drain(timeout_s)
        try:
            async with asyncio.timeout(timeout_s + DRAIN_MARGIN_S):
                await self._drained.wait()
        except TimeoutError:
            logger.error("drain did not end: closing", extra={"open": len(self._core.sessions(""))})
            self._core.close_now()

    async def _stop(self) -> None:
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
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._core.event_fd())
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

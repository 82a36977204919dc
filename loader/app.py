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
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.admin.desk import Desk
from loader.admin.drain import Drain
from loader.admin.http import make_app
from loader.admin.node import LocalNode
from loader.center import AckState, Revision, RevisionCache, open_center
from loader.certificates import Certificates, is_reached_from_outside, load_tls
from loader.config import Bootstrap, ServiceConfig, read_bootstrap, read_documents
from loader.engine.follower import Follower
from loader.engine.revisions import Prepared, Revisions, RolloutRecord, prepare
from loader.engine.supervisor import Supervisor
from loader.errors import BadConfigError, CenterUnreachableError, LoaderError
from loader.gateway.front import Front
from loader.gateway.local import own_client
from loader.logs import start_logging
from loader.startup import Stages, aiges_options, core_options, face_settings, file_threads, leave
from loader.web.server import HttpServer, bind

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from loader._core import Server, Tls
    from loader.config.schema import TlsConfig
    from loader.engine.deployment import Deployment
    from loader.gateway.settings import Settings as FaceSettings
    from loader.registry import Announcer

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
TASKS_S = 15.0  # for an undo that waits for hosts to end
LAST_WORD_S = 2.0  # for what the center is still to hear
KILL_S = 0.1


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
    return leave(_code_of(settings))


def _code_of(settings: Settings) -> int:
    try:
        return asyncio.run(_serve(settings))
    except (BadConfigError, CenterUnreachableError) as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.CONFIG
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.ADDRESS


async def _serve(settings: Settings) -> int:
    app = App(settings)
    starting = asyncio.ensure_future(app.start())
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, starting.cancel)
    try:
        await asyncio.wait((starting,))
        if starting.cancelled():
            logger.info("stopped before anything was started")
            return ExitCode.OK
        starting.result()
        return await app.run()
    finally:
        await app.close()


class App:
    """One loader."""

    _core: Server
    _supervisor: Supervisor
    _revisions: Revisions
    _desk: Desk
    _drain: Drain
    _local: LocalNode

    def __init__(self, settings: Settings) -> None:
        self._stages = Stages()
        self._settings = settings
        self._bootstrap: Bootstrap = read_bootstrap(settings.config)
        self._center = open_center(self._bootstrap.center, self._bootstrap.access, self._cache_folder)
        self._follower = Follower(self._center, self._cache(), lambda: self._node)
        self._node = ""
        self._grpc_address = ""
        self._admin_address = ""
        self._dialled_address = ""
        self._certificates: Certificates | None = None
        self._is_started = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None
        self._http: HttpServer | None = None
        self._front = Front(self._face_settings, lambda: own_client(self._core.listen))
        self._announcer: Announcer | None = None

    @property
    def _config(self) -> ServiceConfig:
        return self._revisions.serving.service

    def _face_settings(self) -> FaceSettings:
        return face_settings(self._config, takes_new=self._drain.is_serving)

    def _cache(self) -> RevisionCache | None:
        """Of the last good revision: for a center that may be out of reach. A file that --config itself names has none:
        whoever starts the loader wants to hear of its mistakes."""
        if self._bootstrap.center.startswith(("file:", "aiges:")) and not self._bootstrap.is_named_by_node:
            return None
        return RevisionCache(self._cache_folder, self._center.url)

    @property
    def _cache_folder(self) -> Path:
        base = str(self._bootstrap.over.values.get("cache") or "")
        default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "engine-loader"
        return self._bootstrap.folder / base if base else default

    # ---- start

    async def start(self) -> None:
        """Listens, then spawns every host. Raises: OSError for an address, LoaderError for the configuration."""
        asyncio.get_running_loop().set_default_executor(file_threads())
        first = await self._first()
        self._stages.end("configuration")
        config = first.service
        start_logging(config.log.level, config.log.format)
        from loader._core import Server

        self._http = self._bind(config)
        self._core = Server(core_options(config))
        self._supervisor = Supervisor(self._core, self._deployment_changed, self._tell)
        self._revisions = Revisions(self._supervisor, first, self._read, self._rollout_told)
        self._drain = Drain(
            self._core, lambda: self._config.drain_timeout_s, lambda text: self._tell("drain", "", text)
        )
        self._desk = Desk(self._core, self._drain.note_drained, self._supervisor.on_event, self._begin)
        self._core.start()
        self._is_started = True
        tls = self._load_certificates(config.tls) if config.tls else None
        self._grpc_address = self._listen(config.grpc, "public", tls)
        if config.admin_listen:
            own = tls if is_reached_from_outside(config.admin_listen) else None
            self._admin_address = self._listen(config.admin_listen, "admin", own)
        self._node = config.node or f"{socket.gethostname()}-{self._grpc_address.rpartition(':')[2]}"
        self._local = LocalNode(
            self._node,
            self._core,
            self._supervisor,
            self._revisions,
            self._follower,
            self._drain,
        )
        self._make_announcer()
        self._stages.end("data plane")
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._drain.signalled)
        self._supervisor.spawn(first.specs.values())
        from loader.registry.dialable import dialable  # while the hosts start

        self._dialled_address = await asyncio.to_thread(dialable, config.advertise, self._grpc_address)
        self._core.set_aiges(aiges_options(config, self._dialled_address))
        self._stages.end("hosts spawned")

    async def _first(self) -> Prepared:
        """What to begin with. The last good revision comes before a newer one, which then has to prove itself."""
        revision = await self._follower.first()
        cached = self._follower.cached
        if cached is not None and cached.name != revision.name:
            with contextlib.suppress(LoaderError):  # it was good once: a wrapper may have gone since
                good = await asyncio.to_thread(self._read, cached)
                return await asyncio.to_thread(self._restarted, good, revision)
        return await asyncio.to_thread(self._read, revision)

    def _restarted(self, good: Prepared, newest: Revision) -> Prepared:
        try:
            return good.restarted_for(self._read(newest))
        except LoaderError:  # told when it is rolled out
            return good

    def _bind(self, config: ServiceConfig) -> HttpServer:
        try:
            sock = bind(config.http)
        except OSError as error:
            raise OSError(
                f"cannot listen on {config.http}: {error.strerror}: try --http with port 0"
            ) from None
        return HttpServer(
            sock,
            lambda: make_app(self._local.metrics, lambda: self._local.readiness, self._front),
            ws_bytes=config.limits.message_bytes,
        )

    def _load_certificates(self, tls: TlsConfig) -> Tls:
        values = tls.model_dump()
        files = (tls.certificate, tls.key, tls.client_ca)
        self._certificates = Certificates(files, lambda: self._core.set_tls(load_tls(values)))
        return load_tls(values)

    def _listen(self, address: str, tag: str, tls: Tls | None) -> str:
        try:
            return self._core.listen(address, tag, tls)
        except RuntimeError as error:
            raise OSError(f"{error}: is another loader running? try port 0") from None
        except ValueError as error:
            raise OSError(f"{error}: give HOST:PORT of this machine, or unix:PATH") from None

    async def run(self) -> int:
        """Serves until a signal or a drain; returns the exit code."""
        asyncio.get_running_loop().add_reader(self._core.event_fd(), self._desk.take_events)
        self._supervisor.start()
        await self._start_control()
        if not self._drain.asked.is_set():
            self._start_following()
            await self._drain.asked.wait()
        await self._end_serving()
        return ExitCode.FORCED if self._drain.forced.is_set() else ExitCode.OK

    async def _start_control(self) -> None:
        """Starts admin and HTTP while hosts initialise, then says that all is ready, unless told to stop first."""
        # Imported here: the hosts are already starting while this takes its 100 ms.
        from loader.admin.events import EventBoard
        from loader.admin.service import AdminService

        self._desk.open(AdminService(self._core, self._supervisor, self._local), EventBoard(self._core))
        assert self._http is not None
        await self._http.start()
        self._stages.end("control plane")
        settled = asyncio.ensure_future(self._supervisor.settled())
        stopping = asyncio.ensure_future(self._drain.asked.wait())
        await asyncio.wait((settled, stopping), return_when=asyncio.FIRST_COMPLETED)
        settled.cancel()
        stopping.cancel()
        if self._drain.asked.is_set():
            return
        self._stages.end("engines ready")
        self._drain.begin_serving()
        self._say_ready()

    def _say_ready(self) -> None:
        assert self._http is not None
        line = {
            "grpc": self._grpc_address,
            "http": self._http.address,
            "pid": os.getpid(),
            "engines": self._local.engine_states,
        }
        if self._admin_address:
            line["admin"] = self._admin_address
        if (out := sys.__stdout__) is not None:
            with contextlib.suppress(OSError):  # nobody reads it any more: the engines serve all the same
                os.write(out.fileno(), f"{json.dumps(line)}\n".encode())
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
        self._sending = self._begin(self._follower.send())
        self._begin(self._revisions.run())
        if self._certificates is not None:
            self._begin(self._certificates.watch())
        if self._announcer is not None:
            self._begin(self._announcer.run())

    def _make_announcer(self) -> None:
        """Before anything is ready: an address or a registry that cannot be is an error of the start."""
        from loader.admin.announcement import Announcement
        from loader.registry import Announcer, advertised, is_loopback, open_registry

        center = self._bootstrap.center
        url = self._config.registry or (center if center.startswith("consul") else "")
        if not url:
            return
        address = advertised(self._config.advertise, self._grpc_address)
        if "/" in address and not url.startswith("file:"):
            raise BadConfigError(
                f"advertise: {address} is a socket file, which {url} cannot name: write `advertise: HOST:PORT`"
            )
        if is_loopback(address):
            cure = "write `advertise: HOST:PORT`, or another `grpc`"
            logger.warning("announced to this machine only", extra={"address": address, "cure": cure})
        self._follower.address = address
        registry = open_registry(url, self._bootstrap.access, self._cache_folder)
        made = Announcement(self._core, self._supervisor, lambda: self._config, self._node, address)
        self._announcer = self._drain.announcer = Announcer(registry, made.entry)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a task ended with a defect: please report this", exc_info=task.exception())

    # ---- while it runs

    def _deployment_changed(self, deployment: Deployment) -> None:
        logger.debug("engine state", extra={"engine": str(deployment.key), "state": deployment.state})
        text = f"{deployment.state}: {deployment.error}" if deployment.error else deployment.state
        if deployment.has_ended:
            text = f"ended: {deployment.rss_bytes} bytes of memory came back"
        self._tell("engine_state", str(deployment.key), text)
        if self._announcer is not None:
            self._announcer.changed()

    def _tell(self, kind: str, engine: str, message: str) -> None:
        self._desk.tell(kind, engine, message)

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
            self._core.set_aiges(aiges_options(serving.service, self._dialled_address))
            self._follower.applied(serving.revision, is_good=not record.error)
        self._follower.acknowledge(record.revision, record.state, record.error, record.duration_s)

    def _center_troubled(self, error: LoaderError) -> None:
        """The center is out of reach, or its documents cannot be read: what serves goes on."""
        logger.warning("center", extra={"error": error.message})
        self._tell("center", "", error.message)
        record = RolloutRecord(self._revisions.serving.revision.name)
        record.end(AckState.REFUSED if self._follower.is_reachable else AckState.STALE, error.message)
        self._revisions.note(record)

    # ---- stop

    async def _end_serving(self) -> None:
        """Refuses new work and waits for the open sessions. A rollout ends at once: it is undone."""
        await self._drain.begin()
        self._supervisor.is_stopping = True
        self._revisions.stop()
        await self._drain.finish()

    async def close(self) -> None:
        """Ends everything that was started, in any state of the start."""
        forcing = asyncio.create_task(self._kill_when_forced()) if self._is_started else None
        await self._end_tasks()
        await self._front.close()
        if forcing is not None:
            await self._close_data_plane()
            forcing.cancel()
        if self._http is not None:
            await self._http.stop()
        if self._announcer is not None:
            await self._announcer.close()
        await self._center.close()

    async def _end_tasks(self) -> None:
        """A rollout is undone first, and the center hears of it."""
        if self._is_started:
            self._revisions.stop()
        others = self._tasks - {self._sending}
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=TASKS_S)
        if self._sending is not None:
            await self._follower.send_last(LAST_WORD_S)
            self._sending.cancel()

    async def _kill_when_forced(self) -> None:
        await self._drain.forced.wait()
        while True:  # what begins meanwhile, too
            self._supervisor.kill()
            await asyncio.sleep(KILL_S)

    async def _close_data_plane(self) -> None:
        await self._supervisor.stop()
        asyncio.get_running_loop().remove_reader(self._core.event_fd())
        self._core.stop()
        logger.info("stopped")

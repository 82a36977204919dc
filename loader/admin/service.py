"""AdminService of loader.v1: request bytes in, response bytes out. The C++ front has checked who may ask.

Knows the supervisor and the data plane's counters; refuses to know gRPC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loader.admin.metrics import flat_statistics
from loader.errors import InvalidArgumentError, UnknownSessionError, UnsupportedError
from loader.v1 import admin_pb2, loader_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._core import Server
    from loader.engine.supervisor import Engine, Supervisor


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """What became of one revision of the configuration."""

    revision: str
    state: str
    error: str = ""


class AdminService:
    """Answers the unary methods of AdminService."""

    def __init__(
        self,
        core: Server,
        supervisor: Supervisor,
        drain: Callable[[float | None], int],
        rollouts: Callable[[], list[RolloutRecord]],
    ) -> None:
        self._core = core
        self._supervisor = supervisor
        self._drain = drain
        self._rollouts = rollouts
        self._methods: dict[str, Callable[[bytes], Any]] = {
            "ListEngines": self._list_engines,
            "ListSessions": self._list_sessions,
            "GetStatistics": self._get_statistics,
            "Drain": self._start_drain,
            "KillSession": self._kill_session,
            "ListRollouts": self._list_rollouts,
        }

    def answer(self, method: str, request: bytes) -> bytes:
        """The response to one call. Raises: LoaderError, which becomes the call's status."""
        answer = self._methods.get(method.rsplit("/", 1)[-1])
        if answer is None:
            raise UnsupportedError(f"AdminService has no method {method} in this version")
        return bytes(answer(request).SerializeToString())

    def _list_engines(self, _: bytes) -> admin_pb2.ListEnginesResponse:
        sampled = {row["instance"]: row for row in self._core.statistics()["instances"]}
        engines = [self._engine_status(engine, sampled) for engine in self._supervisor.engines.values()]
        return admin_pb2.ListEnginesResponse(engines=engines)

    def _engine_status(self, engine: Engine, sampled: dict[int, Any]) -> admin_pb2.EngineStatus:
        spec = engine.spec
        status = admin_pb2.EngineStatus(error=engine.error)
        status.description.CopyFrom(
            loader_pb2.EngineDescription(
                name=spec.name,
                version=spec.version,
                state=engine.state,
                slots=spec.config.slots * spec.config.instances,
            )
        )
        for instance in engine.instances:
            row = sampled.get(instance.handle, {}) if instance.handle is not None else {}
            status.instances.add(
                index=instance.index,
                pid=instance.pid,
                state=instance.state.value,
                restarts=instance.restarts,
                slots=int(row.get("slots", 0)),
                slots_used=int(row.get("slots_used", 0)),
                rss_bytes=instance.process.rss_bytes() if instance.process else 0,
                error=instance.error,
            )
        return status

    def _list_sessions(self, request: bytes) -> admin_pb2.ListSessionsResponse:
        asked = admin_pb2.ListSessionsRequest.FromString(request)
        response = admin_pb2.ListSessionsResponse()
        for row in self._core.sessions(asked.engine):
            status = response.sessions.add(
                session_id=row["session_id"], engine=row["engine"], state=row["state"], peer=row["peer"]
            )
            for field in status.statistics.DESCRIPTOR.fields:
                if field.name in row:
                    setattr(status.statistics, field.name, row[field.name])
        return response

    def _get_statistics(self, _: bytes) -> admin_pb2.GetStatisticsResponse:
        return admin_pb2.GetStatisticsResponse(values=flat_statistics(self._core.statistics()))

    def _start_drain(self, request: bytes) -> admin_pb2.DrainResponse:
        asked = admin_pb2.DrainRequest.FromString(request)
        if asked.timeout_s < 0:
            raise InvalidArgumentError(f"timeout_s is {asked.timeout_s}: give 0 or more seconds")
        open_sessions = self._drain(asked.timeout_s if asked.HasField("timeout_s") else None)
        return admin_pb2.DrainResponse(open_sessions=open_sessions)

    def _kill_session(self, request: bytes) -> admin_pb2.KillSessionResponse:
        asked = admin_pb2.KillSessionRequest.FromString(request)
        if not self._core.kill_session(asked.session_id, asked.message):
            raise UnknownSessionError(
                f"no session `{asked.session_id}` is open: ListSessions tells the open ones"
            )
        return admin_pb2.KillSessionResponse()

    def _list_rollouts(self, _: bytes) -> admin_pb2.ListRolloutsResponse:
        rows = [
            admin_pb2.Rollout(revision=r.revision, state=r.state, error=r.error) for r in self._rollouts()
        ]
        return admin_pb2.ListRolloutsResponse(rollouts=rows)

"""AdminService of loader.v1: request bytes in, response bytes out. The C++ front has checked who may ask.

Knows the supervisor and the data plane's counters; refuses to know gRPC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from loader.admin.metrics import flat_statistics
from loader.config.schema import YEAR_S
from loader.errors import InvalidArgumentError, UnknownSessionError, UnsupportedError
from loader.v1 import admin_pb2, loader_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from loader._core import Server
    from loader.engine.deployment import Deployment
    from loader.engine.revisions import RolloutRecord
    from loader.engine.supervisor import Supervisor


class Node(Protocol):
    """The loader itself, as far as administration asks for it."""

    @property
    def node(self) -> str:
        """Its name."""

    @property
    def revision(self) -> str:
        """The revision that serves."""

    @property
    def records(self) -> list[RolloutRecord]:
        """What became of revisions, newest first."""

    @property
    def is_draining(self) -> bool:
        """It takes no new work."""

    async def drain(self, timeout_s: float | None, *, stay: bool) -> int:
        """Takes no new work, or ends; the sessions still open."""

    def undrain(self) -> None:
        """Takes new work again."""


class AdminService:
    """Answers the unary methods of AdminService."""

    def __init__(self, core: Server, supervisor: Supervisor, node: Node) -> None:
        self._core = core
        self._supervisor = supervisor
        self._node = node
        self._methods: dict[str, Callable[[bytes], Any]] = {
            "ListEngines": self._list_engines,
            "ListSessions": self._list_sessions,
            "GetStatistics": self._get_statistics,
            "Undrain": self._end_drain,
            "KillSession": self._kill_session,
            "ListRollouts": self._list_rollouts,
            "ListResources": self._list_resources,
        }
        self._waiting: dict[str, Callable[[bytes, float], Awaitable[Any]]] = {
            "Drain": self._start_drain,
            "LoadResource": self._load_resource,
            "UnloadResource": self._unload_resource,
        }

    def answer(self, method: str, request: bytes, left_s: float) -> bytes | Awaitable[bytes]:
        """The response to one call, now or within `left_s`. Raises: LoaderError, which becomes the call's status."""
        name = method.rsplit("/", 1)[-1]
        if name in self._waiting:
            # The answer has to arrive, too.
            return _bytes_of(self._waiting[name](request, max(left_s * 0.9, left_s - 0.5)))
        answer = self._methods.get(name)
        if answer is None:
            raise UnsupportedError(f"AdminService has no method {method} in this version")
        return bytes(answer(request).SerializeToString())

    def _list_engines(self, _: bytes) -> admin_pb2.ListEnginesResponse:
        statistics = self._core.statistics()
        sampled = {row["instance"]: row for row in statistics["instances"]}
        closed = {row["engine_id"]: row for row in statistics["engines"]}
        records = self._node.records
        return admin_pb2.ListEnginesResponse(
            engines=[
                self._engine_status(one, sampled, closed.get(one.id, {}))
                for one in self._supervisor.deployments
            ],
            node=self._node.node,
            revision=self._node.revision,
            revision_state=records[0].state.value if records else "",
            is_draining=self._node.is_draining,
        )

    def _engine_status(
        self, deployment: Deployment, sampled: dict[int, Any], counted: dict[str, Any]
    ) -> admin_pb2.EngineStatus:
        spec = deployment.spec
        status = admin_pb2.EngineStatus(
            error=deployment.error,
            weight=spec.config.weight,
            labels=spec.config.labels,
            capabilities=spec.config.capabilities,
            is_routed=deployment.is_routed,
            closed={reason: count for reason, count in counted.get("closed", {}).items() if count},
            open_sessions=int(counted.get("counters", {}).get("sessions_open", 0)),
        )
        status.description.CopyFrom(
            loader_pb2.EngineDescription(
                name=spec.name,
                version=spec.version,
                state=deployment.state,
                slots=spec.config.slots * spec.config.instances,
            )
        )
        for instance in deployment.instances:
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
                session_id=row["session_id"],
                engine=row["engine"],
                state=row["state"],
                peer=row["peer"],
                version=row["version"],
            )
            for field in status.statistics.DESCRIPTOR.fields:
                if field.name in row:
                    setattr(status.statistics, field.name, row[field.name])
        return response

    def _get_statistics(self, _: bytes) -> admin_pb2.GetStatisticsResponse:
        return admin_pb2.GetStatisticsResponse(values=flat_statistics(self._core.statistics()))

    async def _start_drain(self, request: bytes, _: float) -> admin_pb2.DrainResponse:
        asked = admin_pb2.DrainRequest.FromString(request)
        if not 0 <= asked.timeout_s <= YEAR_S:  # NaN is neither
            raise InvalidArgumentError(f"timeout_s is {asked.timeout_s}: give 0 to {YEAR_S} seconds")
        timeout_s = asked.timeout_s if asked.HasField("timeout_s") else None
        return admin_pb2.DrainResponse(open_sessions=await self._node.drain(timeout_s, stay=asked.stay))

    def _end_drain(self, _: bytes) -> admin_pb2.UndrainResponse:
        self._node.undrain()
        return admin_pb2.UndrainResponse()

    def _kill_session(self, request: bytes) -> admin_pb2.KillSessionResponse:
        asked = admin_pb2.KillSessionRequest.FromString(request)
        if not self._core.kill_session(asked.session_id, asked.message):
            raise UnknownSessionError(
                f"no session `{asked.session_id}` is open: ListSessions tells the open ones"
            )
        return admin_pb2.KillSessionResponse()

    def _list_rollouts(self, _: bytes) -> admin_pb2.ListRolloutsResponse:
        rows = [
            admin_pb2.Rollout(
                revision=one.revision,
                state=one.state.value,
                error=one.error,
                time_s=one.time_s,
                duration_s=one.duration_s,
                steps=one.steps,
            )
            for one in self._node.records
        ]
        return admin_pb2.ListRolloutsResponse(rollouts=rows)

    async def _load_resource(self, request: bytes, limit_s: float) -> admin_pb2.LoadResourceResponse:
        asked = admin_pb2.LoadResourceRequest.FromString(request)
        number = await self._supervisor.resources.load(
            asked.engine, asked.id, asked.key, asked.data, dict(asked.attributes), limit_s
        )
        return admin_pb2.LoadResourceResponse(id=number)

    async def _unload_resource(self, request: bytes, limit_s: float) -> admin_pb2.UnloadResourceResponse:
        asked = admin_pb2.UnloadResourceRequest.FromString(request)
        is_pending = await self._supervisor.resources.unload(asked.engine, asked.id, limit_s)
        return admin_pb2.UnloadResourceResponse(is_pending=is_pending)

    def _list_resources(self, request: bytes) -> admin_pb2.ListResourcesResponse:
        asked = admin_pb2.ListResourcesRequest.FromString(request)
        response = admin_pb2.ListResourcesResponse()
        for engine, entry, holders in self._supervisor.resources.entries(asked.engine):
            one = entry.resource
            status = response.resources.add(
                engine=engine,
                id=one.number,
                key=one.key,
                size_bytes=len(one.data),
                attributes=one.attributes,
                state=entry.state.value,
            )
            for version, index, state in holders:
                status.instances.add(version=version, index=index, state=state.value)
        return response


async def _bytes_of(answer: Awaitable[Any]) -> bytes:
    return bytes((await answer).SerializeToString())

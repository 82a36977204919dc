"""What this node tells the registry of itself: address, engines, free slots.

Reads the supervisor and the data plane's counters; refuses to know registries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loader.registry import EngineEntry, NodeEntry

if TYPE_CHECKING:
    from collections.abc import Callable

    from loader._core import Server
    from loader.config import ServiceConfig
    from loader.engine.deployment import Deployment
    from loader.engine.spec import EngineSpec
    from loader.engine.supervisor import Supervisor


class Announcement:
    """Makes the entry of this node."""

    def __init__(
        self,
        core: Server,
        supervisor: Supervisor,
        config: Callable[[], ServiceConfig],
        node: str,
        address: str,
    ) -> None:
        self._core = core
        self._supervisor = supervisor
        self._config = config
        self._node = node
        self._address = address

    def entry(self) -> NodeEntry:
        """What holds now."""
        config = self._config()
        rows = self._core.statistics()["instances"]
        return NodeEntry(
            self._node,
            self._address,
            zone=config.zone,
            weight=config.node_weight,
            is_tls=config.tls is not None,
            engines=(
                *(_engine(one, rows) for one in self._supervisor.serving.values() if one.is_ready),
                *(_entry(one, one.config.slots * one.config.instances, 0) for one in self._supervisor.held),
            ),
            metadata=config.metadata,
        )


def _engine(deployment: Deployment, rows: list[dict[str, Any]]) -> EngineEntry:
    mine = [row for row in rows if row["engine_id"] == deployment.id and row["state"] == "ready"]
    slots = sum(row["slots"] for row in mine)
    return _entry(deployment.spec, slots, max(0, slots - sum(row["slots_used"] for row in mine)))


def _entry(spec: EngineSpec, slots: int, slots_free: int) -> EngineEntry:
    """One that is replaced in place is full: sessions for it wait here, those that find another node do not."""
    return EngineEntry(
        spec.name,
        spec.version,
        weight=spec.config.weight,
        slots=slots,
        slots_free=slots_free,
        capabilities=spec.config.capabilities,
        labels=spec.config.labels,
    )

"""The loader as administration, metrics and readiness see it: names and states, and the two things they may ask for.

Reads what others hold; decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.admin.http import Readiness

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader._core import Server
    from loader.admin.drain import Drain
    from loader.engine.follower import Follower
    from loader.engine.revisions import Revisions, RolloutRecord
    from loader.engine.supervisor import Supervisor


class LocalNode:
    """This loader; admin.service.Node and admin.metrics.Node."""

    def __init__(
        self,
        node: str,
        core: Server,
        supervisor: Supervisor,
        revisions: Revisions,
        follower: Follower,
        drain: Drain,
    ) -> None:
        self._node = node
        self._core = core
        self._supervisor = supervisor
        self._revisions = revisions
        self._follower = follower
        self._drain = drain

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
        return not self._drain.is_serving

    @property
    def rollout_counts(self) -> Mapping[str, int]:
        """How many revisions ended in each state."""
        return self._revisions.counts

    @property
    def is_center_reachable(self) -> bool:
        return self._follower.is_reachable

    @property
    def is_registry_reachable(self) -> bool:
        return self._drain.announcer is None or self._drain.announcer.is_reachable

    @property
    def engine_states(self) -> dict[str, str]:
        """The state of each engine by name: of the version with the most weight where there are several."""
        by_weight = sorted(self._supervisor.serving.values(), key=lambda one: one.spec.config.weight)
        held = {one.name: "starting" for one in self._supervisor.held}
        return held | {one.spec.name: one.state for one in by_weight}

    @property
    def readiness(self) -> Readiness:
        # What is replaced in place takes sessions: they wait here.
        takes_work = self._supervisor.held or any(one.is_ready for one in self._supervisor.serving.values())
        return Readiness(self._drain.is_serving and bool(takes_work), self.engine_states)

    def metrics(self) -> bytes:
        """What /metrics answers."""
        from loader.admin.metrics import exposition

        return exposition(self._core, self._supervisor, self)

    async def drain(self, timeout_s: float | None, *, stay: bool) -> int:
        """Takes no new work when this returns, or ends as soon as it may; the sessions still open."""
        if stay:
            await self._drain.refuse_new_work(timeout_s, stay=True)
        else:
            self._drain.ask(timeout_s)
        return len(self._core.sessions(""))

    def undrain(self) -> None:
        """Takes new work again. Raises: DrainingError where the loader ends."""
        self._drain.undo()

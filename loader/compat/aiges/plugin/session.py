"""One session of a command: as any of AIGES's, with results that come by handle on a stream shared by all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from loader.compat.aiges import constants
from loader.compat.aiges.session import AigesSession

if TYPE_CHECKING:
    from loader._host import Params
    from loader.compat.aiges.opening import Opening
    from loader.compat.aiges.plugin.arrivals import Arrivals
    from loader.compat.aiges.plugin.calls import CommandCalls
    from loader.wrapper import CloseReason

# What may wait for a client that does not read: the stream cannot wait, other sessions' results are behind.
MOST_WAITING: Final = 10_000
MOST_WAITING_BYTES: Final = 64 << 20


class CommandSession(AigesSession):
    """A session; `open` comes first."""

    def __init__(self, calls: CommandCalls, params: Params, opening: Opening, arrivals: Arrivals) -> None:
        super().__init__(calls, params, opening, is_async=True)
        self._arrivals = arrivals

    def _created(self) -> Any:
        with self._arrivals.creating():
            handle = super()._created()
            if not self._arrivals.claim(handle, self):
                said = f"wrapperCreate returned the handle {handle[:60]!r} of another open session"
                raise self._author.refused(constants.CREATE_FAILED, -1, said)
        return handle

    def _wait_for_room(self) -> int:
        if self._outbox.holds_at_most(MOST_WAITING, MOST_WAITING_BYTES):
            return 0
        return self._unread()

    def destroy(self, reason: CloseReason) -> None:
        """wrapperDestroy. The command may give the handle away as soon as it knows: it is released before."""
        self._arrivals.release(self._handle, self)
        super().destroy(reason)

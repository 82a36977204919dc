"""Writes the frames of an iterable into a session from a thread of its own. Knows no gRPC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loader.client.sync import ClientSession
    from loader.client.values import Items


class Feeder:
    """Ends the input after the last frame; keeps what the iterable raised and cancels the session then."""

    def __init__(self, session: ClientSession, put: Callable[[Items], bool], frames: Iterable[Items]) -> None:
        self.failure: BaseException | None = None
        self._session = session
        self._put = put
        self._frames = frames
        self._is_stopped = Event()
        self._thread = Thread(target=self._run, name="loader-client-feeder", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def stop(self) -> None:
        """Writes no further frame; waits for the one being made, five seconds at most."""
        self._is_stopped.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            for frame in self._frames:
                # False: the session is over, and whoever reads it learns why.
                if self._is_stopped.is_set() or not self._put(frame):
                    return
            self._session.end()
        except BaseException as failure:  # noqa: BLE001  user code: raised again where results are read
            self.failure = failure
            self._session.cancel()

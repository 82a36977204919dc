"""An engine that emits the time, again and again: for the latency of results that nobody asked for."""

from __future__ import annotations

import struct
import time
from threading import Event, Thread

from loader import Config, Frame, Params, Session, Wrapper

INTERVAL_S = 0.02


class EmitterSession(Session):
    """Emits until it is closed."""

    def __init__(self) -> None:
        self._is_closed = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_closed.wait(INTERVAL_S):
            try:
                self.emit({"time": struct.pack("<q", time.monotonic_ns())})
            except ConnectionError:
                return

    def write(self, frame: Frame) -> None:
        """Nothing."""

    def destroy(self, reason: str) -> None:
        """Stops."""
        del reason
        self._is_closed.set()


class Emitter(Wrapper):
    """Sessions that need no input."""

    def init(self, config: Config) -> None:
        """Nothing to load."""

    def create(self, params: Params) -> EmitterSession:
        """A session."""
        del params
        return EmitterSession()

"""What an engine's process prints, as log lines with the engine's name, at most 1 MiB a second.

Beyond that, output is read, dropped and counted: a process that prints without end neither blocks nor fills
the log. Knows pipes and nothing of engines.
"""

from __future__ import annotations

import logging
import os
import select
import time
from dataclasses import dataclass

logger = logging.getLogger("loader.engine.output")

RATE_BYTES_S = 1 << 20
CHUNK_BYTES = 64 << 10
LINE_BYTES = 8 << 10


@dataclass(slots=True)
class RateLimit:
    """A bucket that holds one second of output."""

    rate_bytes_s: float
    tokens: float
    at_s: float

    def take(self, size_bytes: int, now_s: float) -> bool:
        """Whether `size_bytes` may pass now."""
        self.tokens = min(self.rate_bytes_s, self.tokens + (now_s - self.at_s) * self.rate_bytes_s)
        self.at_s = now_s
        if size_bytes > self.tokens:
            return False
        self.tokens -= size_bytes
        return True


class LineSplitter:
    """Chunks in, whole lines out; a line longer than LINE_BYTES is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        while len(self._rest) > LINE_BYTES:
            lines.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def flush(self) -> list[str]:
        """What is left without an end of line."""
        return self.feed(b"\n") if self._rest else []


class OutputCapture:
    """Reads one pipe when told that it is readable."""

    def __init__(self, fd: int, engine: str, index: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.dropped_bytes = 0
        self._reported_bytes = 0
        self._lines = LineSplitter()
        self._limit = RateLimit(RATE_BYTES_S, RATE_BYTES_S, time.monotonic())
        self._fields = {"engine": engine, "instance": index}

    def read(self) -> bool:
        """Logs what is there; False at the end of the pipe."""
        try:
            chunk = os.read(self.fd, CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            chunk = b""
        if not chunk:
            self._log(self._lines.flush())
            self._report_dropped()
            return False
        if self._limit.take(len(chunk), time.monotonic()):
            self._report_dropped()
            self._log(self._lines.feed(chunk))
        else:
            self.dropped_bytes += len(chunk)
        return True

    def has_data(self) -> bool:
        """Whether read() would find something, an end included."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Gives the descriptor back; once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _log(self, lines: list[str]) -> None:
        for line in lines:
            logger.info("engine output", extra={**self._fields, "line": line})

    def _report_dropped(self) -> None:
        dropped = self.dropped_bytes - self._reported_bytes
        if dropped:
            self._reported_bytes = self.dropped_bytes
            logger.warning("engine output dropped", extra={**self._fields, "dropped_bytes": dropped})

"""What an engine's process prints, as log lines with the engine's name, at most 1 MiB of log a second.

A line counts as long as its record in the log: empty lines are not free. Beyond that, output is read, dropped
and counted: a process that prints without end neither blocks nor fills the log. Knows pipes and nothing of engines.
"""

from __future__ import annotations

import json
import logging
import os
import select
import time
from dataclasses import dataclass

logger = logging.getLogger("loader.engine.output")

RATE_BYTES_S = 1 << 20
CHUNK_BYTES = 64 << 10
LINE_BYTES = 8 << 10
RECORD_BYTES = 256  # of a record in the log beside its line, in writing and in work
REPORT_S = 1.0


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

    def is_spent(self, now_s: float) -> bool:
        """Whether not even an empty line may pass now."""
        return self.tokens + (now_s - self.at_s) * self.rate_bytes_s < RECORD_BYTES


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

    def skip(self, chunk: bytes) -> int:
        """Passes over what is left and `chunk`, but for its line without an end; the bytes passed over."""
        size = len(self._rest) + len(chunk)
        self._rest = chunk.rpartition(b"\n")[2][:LINE_BYTES]
        return size - len(self._rest)

    def flush(self) -> list[str]:
        """What is left without an end of line."""
        return self.feed(b"\n") if self._rest else []


class OutputCapture:
    """Reads one pipe when told that it is readable."""

    def __init__(self, fd: int, engine: str, index: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.dropped_bytes = 0
        self.last_line = ""  # that is not empty
        self._reported_bytes = 0
        self._reported_s = 0.0
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
        now_s = time.monotonic()
        if not chunk:
            self._log(self._lines.flush(), now_s)
            self._report_dropped()
            return False
        if self._limit.is_spent(now_s):
            self.dropped_bytes += self._lines.skip(chunk)
        else:
            self._log(self._lines.feed(chunk), now_s)
        if now_s - self._reported_s > REPORT_S:
            self._reported_s = now_s
            self._report_dropped()
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

    def _log(self, lines: list[str], now_s: float) -> None:
        for number, line in enumerate(lines):
            if not self._limit.take(len(json.dumps(line, ensure_ascii=False)) + RECORD_BYTES, now_s):
                self.dropped_bytes += sum(len(one.encode()) + 1 for one in lines[number:])
                return
            self.last_line = line.strip() or self.last_line
            logger.info("engine output", extra={**self._fields, "line": line})

    def _report_dropped(self) -> None:
        dropped = self.dropped_bytes - self._reported_bytes
        if dropped:
            self._reported_bytes = self.dropped_bytes
            logger.warning("engine output dropped", extra={**self._fields, "dropped_bytes": dropped})

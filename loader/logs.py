"""The loader's log on standard error: JSON lines in production, text on a terminal.

A record is a constant event phrase plus fields (`extra={"engine": ...}`). Knows no event. A thread of its own
writes: where standard error is not read, records are dropped and counted, and nobody waits.
"""

from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TextIO

QUEUE_BYTES = 4 << 20
FLUSH_S = 1.0

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The fields that the caller gave by `extra`."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class ConsoleFormatter(logging.Formatter):
    """Time, level, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        fields = " ".join(f"{key}={value}" for key, value in fields_of(record).items())
        line = (
            f"{moment}.{int(record.msecs):03d} {record.levelname:<7} {record.getMessage()}  {fields}".rstrip()
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class LineWriter:
    """Writes text from a thread of its own; what has no room in its queue is refused, and nobody waits."""

    def __init__(self, fd: int, limit_bytes: int = QUEUE_BYTES) -> None:
        self._fd = fd
        self._limit_bytes = limit_bytes
        self._waiting: deque[bytes] = deque()
        self._held_bytes = 0  # waiting, or being written
        self._is_closed = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: str) -> bool:
        """False: there is no room."""
        data = line.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._held_bytes + len(data) > self._limit_bytes:
                return False
            self._held_bytes += len(data)
            self._waiting.append(data)
            self._changed.notify_all()
        return True

    def flush(self, timeout_s: float) -> None:
        """Waits until all is written, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held_bytes, timeout_s)

    def close(self) -> None:
        """Ends the thread when all is written."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                data = self._waiting.popleft()
            with suppress(OSError):  # nobody is there to read it any more
                self._write(data)
            with self._changed:
                self._held_bytes -= len(data)
                self._changed.notify_all()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # whoever shares the descriptor has made it so
                select.select([], [self._fd], [])


class QueuedHandler(logging.Handler):
    """Hands formatted records to a LineWriter; says how many had no room once there is room again."""

    def __init__(self, fd: int, limit_bytes: int = QUEUE_BYTES) -> None:
        super().__init__()
        self.fd = fd
        self._writer = LineWriter(fd, limit_bytes)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  a record that cannot be laid out must not end its caller
            line = f"{record.name}: {error!r}"
        if self._dropped and self._writer.put(self._dropped_line() + "\n"):
            self._dropped = 0
        if self._dropped or not self._writer.put(line + "\n"):
            self._dropped += 1

    def flush(self) -> None:
        """Waits a moment for what is queued."""
        if self._dropped and self._writer.put(self._dropped_line() + "\n"):
            self._dropped = 0
        self._writer.flush(FLUSH_S)

    def close(self) -> None:
        self._writer.close()
        super().close()

    def _dropped_line(self) -> str:
        fields = {
            "name": "loader.logs",
            "levelname": "WARNING",
            "levelno": logging.WARNING,
            "dropped": self._dropped,
        }
        return self.format(logging.makeLogRecord({**fields, "msg": "log records dropped"}))


def start_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Sends the log of `loader` to `stream` (standard error); calling it again replaces level and form."""
    stream = stream or sys.stderr
    is_console = style == "console" or (style == "auto" and stream.isatty())
    log = logging.getLogger("loader")
    target = _handler(stream, log.handlers)
    target.setFormatter(ConsoleFormatter() if is_console else JsonFormatter())
    log.handlers[:] = [target]
    log.setLevel(level.upper())
    log.propagate = False


def _handler(stream: TextIO, present: list[logging.Handler]) -> logging.Handler:
    """The one that writes there already, or another."""
    try:
        fd = stream.fileno()
    except (OSError, ValueError):
        return logging.StreamHandler(stream)  # in memory: it takes everything
    found = (one for one in present if isinstance(one, QueuedHandler) and one.fd == fd)
    return next(found, None) or QueuedHandler(fd)

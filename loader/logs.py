"""The loader's log on standard error: JSON lines in production, text on a terminal.

A record is a constant event phrase plus fields (`extra={"engine": ...}`). Knows no event.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

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


def start_logging(level: str, style: str, stream: TextIO | None = None) -> None:
    """Sends the log of `loader` to `stream` (standard error); calling it again replaces level and form."""
    stream = stream or sys.stderr
    is_console = style == "console" or (style == "auto" and stream.isatty())
    target = logging.StreamHandler(stream)
    target.setFormatter(ConsoleFormatter() if is_console else JsonFormatter())
    log = logging.getLogger("loader")
    log.handlers[:] = [target]
    log.setLevel(level.upper())
    log.propagate = False

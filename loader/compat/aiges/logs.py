"""`aiges.utils.log`. A log file that cannot be written is said once, and no reason to fail."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["getFileLogger", "getLogger", "log"]

FORMAT = "%(asctime)s - %(name)s:%(funcName)s:%(lineno)s - %(levelname)s:  %(message)s"
FOLDERS = (Path("/log/app"), Path(tempfile.gettempdir()) / "log" / "app")

log = logging.getLogger()
if "loader.host.driver" not in sys.modules:  # there the loader takes every line
    logging.basicConfig(level=logging.INFO, format=FORMAT)


def getLogger(fmt: Any = "", level: Any = logging.INFO, name: str | None = None) -> logging.Logger:  # noqa: ARG001
    """A logger of that level, whose lines go where all do."""
    found = logging.getLogger(name)
    found.setLevel(level)
    return found


def getFileLogger(fmt: Any = "", level: Any = logging.INFO, name: str = "wrapper") -> logging.Logger:
    """A logger that writes to a file too: /log/app/NAME.log, else below the folder for temporary files."""
    found = logging.getLogger(name)
    found.setLevel(level)
    if not any(isinstance(one, logging.FileHandler) for one in found.handlers):
        handler = _file_handler(name)
        if handler is not None:
            handler.setFormatter(logging.Formatter(fmt if isinstance(fmt, str) and fmt else FORMAT))
            found.addHandler(handler)
    return found


def _file_handler(name: str) -> logging.Handler | None:
    for folder in FOLDERS:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return logging.FileHandler(folder / f"{name}.log", encoding="utf-8")
        except OSError as error:
            log.warning("log file %s cannot be written: %s", folder / f"{name}.log", error.strerror)
    return None

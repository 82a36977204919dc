"""Logging."""

from loader.compat.aiges.logs import getFileLogger, getLogger, log

logger = log

__all__ = ["getFileLogger", "getLogger", "log", "logger"]

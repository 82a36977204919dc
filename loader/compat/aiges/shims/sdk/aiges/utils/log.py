"""Logging."""

from loader.compat.aiges.logs import getFileLogger, getLogger, log  # noqa: F401

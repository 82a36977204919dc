"""Logging."""

from flags.logger import *  # noqa: F403

"""Pools."""

from loader.compat.aiges.worker import Pool  # noqa: F401

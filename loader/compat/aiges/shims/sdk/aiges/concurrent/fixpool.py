"""A pool of fixed size."""

from loader.compat.aiges.worker import FixedPool  # noqa: F401

"""A thread that infers what comes in its queue."""

from loader.compat.aiges.worker import InferClass, Worker  # noqa: F401

"""Worker threads for sessions."""

from aiges.core.types import *  # noqa: F403
from loader.compat.aiges.streaming import *  # noqa: F403

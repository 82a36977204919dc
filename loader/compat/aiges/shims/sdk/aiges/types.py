"""Constants, by the name that they had first."""

from aiges.core.types import *  # noqa: F403

"""Constants."""

from loader.compat.aiges.constants import *  # noqa: F403

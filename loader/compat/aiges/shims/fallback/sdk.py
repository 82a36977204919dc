"""The SDK by the name that it had in 2022, beside the wrapper."""

from aiges.sdk import *  # noqa: F403

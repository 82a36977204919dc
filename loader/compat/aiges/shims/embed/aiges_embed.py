"""What the embedded interpreter of AIGES offers its wrappers."""

from loader.compat.aiges.dto import *  # noqa: F403
from loader.compat.aiges.receivers import callback, callback_metric, callback_trace  # noqa: F401

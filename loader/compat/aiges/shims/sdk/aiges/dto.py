"""What wrappers exchange with their host: the same objects as in aiges_embed."""

from aiges.core.types import *  # noqa: F403
from loader.compat.aiges.dto import *  # noqa: F403
from loader.compat.aiges.receivers import callback, callback_metric, callback_trace, init_rq  # noqa: F401

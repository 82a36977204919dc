"""WrapperBase and the fields of requests and responses."""

from aiges.dto import *  # noqa: F403
from aiges.stream import *  # noqa: F403
from loader.compat.aiges.base import *  # noqa: F403
from loader.compat.aiges.fields import *  # noqa: F403
from loader.compat.aiges.logs import log  # noqa: F401
from loader.compat.aiges.receivers import callback, init_rq  # noqa: F401

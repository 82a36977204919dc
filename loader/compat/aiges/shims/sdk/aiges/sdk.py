"""WrapperBase and the fields of requests and responses; and names that `from aiges.sdk import *` always gave."""

import base64  # noqa: F401
import json  # noqa: F401
import os  # noqa: F401
import queue  # noqa: F401
import sys  # noqa: F401
import threading  # noqa: F401
import time  # noqa: F401
from multiprocessing import Process  # noqa: F401
from pprint import pprint  # noqa: F401
from threading import Lock  # noqa: F401

from aiges.dto import *  # noqa: F403
from aiges.stream import *  # noqa: F403
from loader.compat.aiges.base import *  # noqa: F403
from loader.compat.aiges.constants import KINDS_BY_NAME as type_map  # noqa: F401, N811
from loader.compat.aiges.fields import *  # noqa: F403
from loader.compat.aiges.logs import log  # noqa: F401
from loader.compat.aiges.receivers import callback, init_rq  # noqa: F401

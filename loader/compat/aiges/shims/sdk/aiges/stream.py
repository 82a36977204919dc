"""Worker threads for sessions; and names that `from aiges.stream import *` always gave."""

import multiprocessing  # noqa: F401
import os  # noqa: F401
import queue  # noqa: F401
import threading  # noqa: F401
import time  # noqa: F401
from multiprocessing import Process  # noqa: F401
from threading import Lock  # noqa: F401

from aiges.core.types import *  # noqa: F403
from loader.compat.aiges.streaming import *  # noqa: F403

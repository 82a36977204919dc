"""`aiges.stream`: a pool of worker threads that wrappers use for their sessions. Written as it is used."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from loader.compat.aiges.constants import PROCESS_MODE, THREAD_MODE

__all__ = [
    "PROCESS_MODE",
    "THREAD_MODE",
    "Context",
    "ModelProcess",
    "Pool",
    "ProcessThreadPool",
    "ReqHandleThread",
    "RequestPool",
    "SessionManager",
    "StreamHandleThread",
    "ThreadPool",
    "WorkerProcess",
    "WorkerThread",
]


class StreamHandleThread(threading.Thread):
    """What works for one session after the other. Derive from it and define `run`."""

    def __init__(self, session_thread: Any = None, in_q: Any = None, out_q: Any = None) -> None:
        super().__init__(daemon=True)
        self.session_thread = session_thread
        self.in_q = in_q
        self.out_q = out_q
        self.is_stopping = False

    def setDaemon(self, daemonic: bool) -> None:
        """Sets whether the process waits for it; the host never does."""
        self.daemon = daemonic

    def init_model(self, *arguments: Any, **named: Any) -> Any:
        """Loads what this thread needs."""

    def stop(self) -> None:
        """Asks it to end."""
        self.is_stopping = True

    def run(self) -> None:
        """The work; this one only waits."""
        while not self.is_stopping:
            time.sleep(1)


class WorkerThread(threading.Thread):
    """One place for a session: its queues, its sid, its callback; and the thread that works for it."""

    def __init__(self, handle: str) -> None:
        super().__init__(daemon=True)
        self.handle = handle
        self.sid = ""
        self.params: Any = {}
        self.in_q: queue.Queue[Any] = queue.Queue()
        self.out_q: queue.Queue[Any] = queue.Queue()
        self.is_idle = True
        self.callback_fn: Callable[..., Any] | None = None
        self.StreamHandleThreadClass: Any = StreamHandleThread

    @property
    def idle(self) -> bool:
        """Free for a session."""
        return self.is_idle

    def setup_sid(self, sid: str) -> None:
        """Whose results these will be."""
        self.sid = sid

    def setup_params(self, params: Any) -> None:
        """The session's parameters."""
        self.params = params
        self.is_idle = False

    def setup_callback_fn(self, callback: Callable[..., Any]) -> None:
        """What results are given to, with the sid."""
        self.callback_fn = callback

    def setStreamHandleThreadClass(self, cls: Any) -> None:
        """The class that works."""
        self.StreamHandleThreadClass = cls

    def reset(self) -> None:
        """Free again, with empty queues."""
        self.sid = ""
        self.params = {}
        for one in (self.in_q, self.out_q):
            with one.mutex:
                one.queue.clear()
        self.is_idle = True

    def run(self) -> None:
        """Runs the class that works, until it ends."""
        worker = self.StreamHandleThreadClass(self, self.in_q, self.out_q)
        worker.start()
        worker.join()


class Pool:
    """Workers by handle."""

    def __init__(self) -> None:
        self.workers: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get_thread(self, handle: str) -> Any:
        """The worker of that handle, or None."""
        return self.workers.get(handle)

    def get_idle_thread_handle(self) -> tuple[str | None, Any]:
        """A free worker, which is taken from now on, or (None, None)."""
        with self._lock:
            for handle, worker in self.workers.items():
                if worker.is_idle:
                    worker.is_idle = False
                    return handle, worker
        return None, None

    def reset_thread(self, handle: str) -> None:
        """Empties it."""
        worker = self.workers.get(handle)
        if worker is not None:
            worker.reset()

    def set_idle(self, handle: str) -> None:
        """Frees it."""
        worker = self.workers.get(handle)
        if worker is not None:
            worker.is_idle = True


class ThreadPool(Pool):
    """Worker threads."""

    def __init__(self, reqDataThreadCls: Any, processs_no: Any = 0, nums: int = 10) -> None:
        super().__init__()
        for number in range(int(nums)):
            handle = f"Process-{processs_no}-Thread-{number}"
            worker = self.workers[handle] = WorkerThread(handle)
            worker.setStreamHandleThreadClass(reqDataThreadCls)
            worker.start()


class ProcessThreadPool(ThreadPool):
    """Was meant to be processes and never was: threads."""

    def __init__(self, reqWorkerHandleCls: Any, procs: int = 2, threads_per_cpu: int = 5) -> None:
        super().__init__(reqWorkerHandleCls, 0, int(procs) * int(threads_per_cpu))


class SessionManager:
    """The workers of a wrapper, which borrow themselves to sessions."""

    def __init__(self, config: Any = None, mode: str = THREAD_MODE, nums: int = 0) -> None:  # noqa: ARG002
        self.initialized = False
        self.code = 0
        self.wrapperConfig = config or {}
        self.handle_pool: Pool = Pool()
        self.lock = threading.Lock()

    def init_wrapper_config(self, config: Any = None) -> None:
        """Keeps the configuration."""
        self.wrapperConfig = config or {}

    def init_handle_pool(self, mode: str, nums: Any, ReqThreadCls: Any) -> None:  # noqa: ARG002
        """Starts that many workers."""
        self.handle_pool = ThreadPool(ReqThreadCls, 0, int(nums))
        self.initialized = True

    def get_session(self, handle: str) -> Any:
        """The worker of that handle, or None."""
        return self.handle_pool.get_thread(handle)

    def get_idle_handle(self) -> str | None:
        """The handle of a free worker, or None."""
        return self.handle_pool.get_idle_thread_handle()[0]

    def set_idle_session(self, handle: str) -> None:
        """Frees the worker."""
        self.handle_pool.set_idle(handle)

    def reset_session(self, handle: str) -> None:
        """Empties the worker."""
        self.handle_pool.reset_thread(handle)

    def push_back(self, handle: str) -> None:
        """Empties and frees the worker."""
        self.reset_session(handle)
        self.set_idle_session(handle)


# Names that could always be imported.
WorkerProcess = WorkerThread
RequestPool = ThreadPool
ReqHandleThread = StreamHandleThread
ModelProcess = StreamHandleThread


class Context(dict[str, Any]):
    """Values by name or by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

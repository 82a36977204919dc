"""`aiges.stream`: a pool of worker threads that wrappers use for their sessions. Written as it is used."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from loader.compat.aiges.constants import PROCESS_MODE, THREAD_MODE
from loader.compat.aiges.receivers import report_failure

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
        """The work; this one only loads, and waits."""
        self.init_model(self.session_thread.handle)
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
        self.is_stopping = False
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

    def init_model(self, *arguments: Any, **named: Any) -> Any:
        """For derived classes."""

    def stop(self) -> None:
        """Asks it to end."""
        self.is_stopping = True

    def run(self) -> None:
        """Runs the class that works, until it ends; one that dies at work is replaced, and its session fails."""
        while self._died_at_work():
            pass

    def _died_at_work(self) -> bool:
        worker = self.StreamHandleThreadClass(self, self.in_q, self.out_q)
        run, was_at_work = worker.run, threading.Event()

        def watched() -> None:
            try:
                run()
            except BaseException as raised:
                if report_failure(self.sid, raised):
                    was_at_work.set()
                raise

        worker.run = watched
        worker.start()
        worker.join()
        return was_at_work.is_set()


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
        self.handle_pool = self.init_threads(ReqThreadCls, nums)
        self.initialized = True

    def init_threads(self, ReqThreadCls: Any, nums: Any = 10) -> Pool:
        """Workers, started."""
        return ThreadPool(ReqThreadCls, 0, int(nums))

    def init_processes(self, ReqThreadCls: Any, procs: int = 2, threads_per_cpu: int = 5) -> Pool:
        """Workers, started: threads, too."""
        return ProcessThreadPool(ReqThreadCls, procs, threads_per_cpu)

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


# A name that could always be imported, for what never worked.
WorkerProcess = WorkerThread


class Context:
    """What a request of RequestPool carries."""

    sid: str
    params: Any
    data: Any
    callback_handle: Any
    session_destroyed: bool

    def __init__(self) -> None:
        self.reset_ctx()

    def reset_ctx(self) -> None:
        """Empty again."""
        self.sid, self.params, self.data = "", {}, None
        self.callback_handle, self.session_destroyed = "", False

    def set_data(self, data: Any) -> None:
        """The input."""
        self.data = data

    def set_callback_handle(self, s: Any) -> None:
        """What results are called back with."""
        self.callback_handle = s

    def set_sid(self, sid: str) -> None:
        """The session."""
        self.sid = sid

    def set_params(self, params: Any) -> None:
        """Its parameters."""
        self.params = params

    def set_destroyed(self) -> None:
        """The session is over."""
        self.session_destroyed = True


class ReqHandleThread(threading.Thread):
    """Hands what a session writes to the one queue of a ModelProcess."""

    def __init__(
        self, model_pipe_conn: Any, shared_req_queue: Any, handle: str, callback_fn: Callable[..., Any]
    ) -> None:
        super().__init__(daemon=True)
        self.model_pipe_conn = model_pipe_conn
        self.shared_req_queue = shared_req_queue
        self.handle = handle
        self.callback = callback_fn
        self.input_queue: queue.Queue[Context] = queue.Queue()
        self.status = "idle"
        self.is_stopping = False
        self.ctx = Context()

    def set_busy(self) -> None:
        """A session has it."""
        self.status = "busy"

    def set_idle(self) -> None:
        """None has."""
        self.status = "idle"
        self.ctx.reset_ctx()

    def set_ctx(self, sid: str, params: Any) -> None:
        """The session that has it."""
        self.ctx.set_sid(sid)
        self.ctx.set_params(params)

    def send_to_input_queue(self, sid: str, req: Any) -> None:
        """One package."""
        self.ctx.set_sid(sid)
        self.ctx.set_data(req)
        self.input_queue.put(self.ctx)

    def destroy(self) -> None:
        """The session is over."""
        self.set_idle()

    def run(self) -> None:
        """Hands over, for ever."""
        while not self.is_stopping:
            self.shared_req_queue.put((self.handle, self.input_queue.get()))


class RequestPool:
    """ReqHandleThreads by handle."""

    def __init__(self, shared_req_queue: Any, callback_fn: Callable[..., Any]) -> None:
        self.pool: dict[str, ReqHandleThread] = {}
        self.conns_map: dict[str, Any] = {}
        self.shared_req_queue = shared_req_queue
        self.init_threads(callback_fn)

    def init_threads(self, callback_fn: Callable[..., Any], pool_size: int = 5) -> None:
        """Starts them."""
        for number in range(pool_size):
            handle = f"process-{os.getpid()}-thread-{number}"
            left, right = multiprocessing.Pipe()
            self.conns_map[handle] = (left, right)
            self.pool[handle] = ReqHandleThread(left, self.shared_req_queue, handle, callback_fn)
            self.pool[handle].start()

    def get_idle_handle(self) -> str | None:
        """A free one, taken from now on, or None."""
        for handle, one in self.pool.items():
            if one.status == "idle":
                one.set_busy()
                return handle
        return None

    def set_idle_handle(self, handle: str) -> None:
        """Frees it."""
        self.pool[handle].set_idle()

    def get_thread(self, handle: str) -> ReqHandleThread:
        """The one of that handle."""
        return self.pool[handle]


class ModelProcess(threading.Thread):
    """Infers what comes in the queue that all sessions share."""

    def __init__(self, shared_req_queue: Any, result_conns_map: Any, callback_fn: Callable[..., Any]) -> None:
        super().__init__(daemon=True)
        self.shared_req_queue = shared_req_queue
        self.result_conns_map = result_conns_map
        self.callback = callback_fn
        self.is_stopping = False

    def register_infer_func(self, func: Callable[..., Any]) -> None:
        """What infers: called with a Context and the callback."""
        self.infer = func  # type: ignore[method-assign]

    def infer(self, ctx: Context, callback: Callable[..., Any]) -> Any:
        """For derived classes."""
        raise NotImplementedError("define infer(self, ctx, callback), or register_infer_func")

    def run(self) -> None:
        """Infers, for ever."""
        while not self.is_stopping:
            _, ctx = self.shared_req_queue.get()
            if not ctx.session_destroyed:
                self.infer(ctx, self.callback)

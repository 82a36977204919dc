"""`aiges.worker` and `aiges.concurrent`: a thread that infers what comes in its queue, and a pool of fixed size."""

from __future__ import annotations

import queue
import threading
from typing import Any

__all__ = ["FixedPool", "InferClass", "Pool", "Worker"]

POLL_S = 0.5


class InferClass:
    """Derive from it and define `predict`, which returns (output, all_done)."""

    handle: Any = None

    def predict(self, *arguments: Any, **named: Any) -> tuple[Any, bool]:
        """The output of one request, and whether it was the last."""
        raise NotImplementedError("define predict(self, req)")

    def setHandle(self, hdl: Any) -> None:
        """Whose request comes next."""
        self.handle = hdl


class Worker(threading.Thread):
    """Gives each request of `in_q` to the registered InferClass."""

    def __init__(
        self, name: str | None = None, _type: str = "thread", nums: int = 1, context: Any = None
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._type = _type
        self.nums = nums
        self.context = context if context is not None else {}
        self.in_q: queue.Queue[Any] = queue.Queue()
        self.out_q: queue.Queue[Any] = queue.Queue()
        self.infer_class: Any = None
        self.infer_func: Any = None
        self.callback_fn: Any = None
        self.is_stopping = False

    def stop(self) -> None:
        """Asks it to end."""
        self.is_stopping = True

    def register_infer_class(self, instance: Any) -> None:
        """What infers."""
        self.infer_class = instance

    def register_infer_func(self, infer: Any) -> None:
        """A function that infers."""
        self.infer_func = infer

    def register_callback(self, cb: Any) -> None:
        """What results are given to."""
        self.callback_fn = cb

    def setHandle(self, hdl: Any) -> None:
        """Whose request comes next."""
        self.infer_class.setHandle(hdl)

    def create(self, params: Any = None) -> None:
        """Nothing: for derived classes."""

    def run(self) -> None:
        """Until it is stopped, or everything is done."""
        while not self.is_stopping:
            try:
                request = self.in_q.get(timeout=POLL_S)
            except queue.Empty:
                continue
            _, is_all_done = self.infer_class.predict(req=request)
            if is_all_done:
                return


class Pool:
    """Objects by key."""


class FixedPool(Pool):
    """At most `capacity` of them."""

    capacity = 1

    def __init__(self) -> None:
        self.allocated = 0
        self.pool: dict[str, Any] = {}

    def set_capacity(self, c: int) -> None:
        """How many there may be."""
        self.capacity = c

    def get(self, key: str) -> Any:
        """The one of that key, or None."""
        return self.pool.get(key)

    def add(self, obj: Any) -> tuple[bool, str]:
        """(True, its key), or (False, "") where there is no room."""
        if self.allocated >= self.capacity:
            return False, ""
        key = f"worker-{self.allocated}"
        self.pool[key] = obj
        self.allocated += 1
        return True, key

    def remove(self, key: str) -> bool:
        """Makes room."""
        if self.pool.pop(key, None) is not None:
            self.allocated -= 1
        return True

    def clear_all(self) -> None:
        """Makes room for all."""
        self.pool = {}
        self.allocated = 0

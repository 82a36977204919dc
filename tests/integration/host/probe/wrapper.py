"""What the tests of the Python host look through: each session or call does what `do` says."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from loader import CloseReason, Config, Frame, Params, Request, Session, Wrapper

BARRIER = threading.Barrier(4)


def note(text: str) -> None:
    """One line in the host's output, which the test reads."""
    print(text, flush=True)


def log_for_ever() -> None:
    """What a library's own thread does while its wrapper fails."""
    while True:
        logging.getLogger("busy").info("still here")


class Probe(Wrapper):
    """See the functions below."""

    def init(self, config: Config) -> None:
        self.config = config
        note(f"init {threading.current_thread() is threading.main_thread()}")
        if config.get("fail"):
            for _ in range(config.get("busy_threads", 0)):
                threading.Thread(target=log_for_ever, daemon=True).start()
            raise RuntimeError("the model is missing")

    def fini(self) -> None:
        note(f"fini {threading.current_thread() is threading.main_thread()}")

    def exec(self, request: Request) -> Any:
        return getattr(self, request["do"])(request)

    def echo(self, request: Request) -> Any:
        return {"data": request["data"]}

    def meet(self, _request: Request) -> str:
        """Returns only when four calls run at once."""
        return str(BARRIER.wait(20) < 4)

    def thread(self, _request: Request) -> str:
        return str(threading.current_thread() is threading.main_thread())

    def path(self, _request: Request) -> Any:
        return {"path": sys.path, "cwd": os.getcwd()}  # noqa: PTH109

    def threads(self, request: Request) -> None:
        workers = [threading.Thread(target=self._emit, args=(request, n)) for n in range(10)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _emit(self, request: Request, number: int) -> None:
        for count in range(20):
            request.emit(f"{number} {count}")

    def logs(self, _request: Request) -> None:
        logging.getLogger("mine").info("seen %d", 7)

    def big(self, request: Request) -> bytes:
        return b"r" * int(request["size"])

    def create(self, params: Params) -> Session:
        return ProbeSession(params)


class ProbeSession(Session):
    """One session."""

    def __init__(self, params: Params) -> None:
        self.way = str(params.get("way", "echo"))

    def write(self, frame: Frame) -> Any:
        return getattr(self, self.way)(frame)

    def echo(self, frame: Frame) -> Any:
        return {"data": frame["data"]}

    def endless(self, _frame: Frame) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1024)
        finally:
            note("generator closed")

    async def endless_async(self, _frame: Frame) -> Any:
        try:
            while True:
                await self.emit_async(bytes(1024))
        finally:
            note("coroutine ended")

    def blocking(self, _frame: Frame) -> None:
        try:
            while True:
                self.emit(bytes(1024))
        except ConnectionError:
            note("emit refused")

    def end(self) -> str:
        return "end"

    def destroy(self, reason: CloseReason) -> None:
        note(f"destroy {reason}")

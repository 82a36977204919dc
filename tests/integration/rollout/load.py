"""Sessions that come, talk and end without pause; every one of them is judged."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from loader.v1 import frame_pb2, loader_pb2, loader_pb2_grpc

if TYPE_CHECKING:
    from types import TracebackType

START_S = 60
END_S = 60


def frame(text: str) -> loader_pb2.SessionRequest:
    """One frame with one text item."""
    item = frame_pb2.Item(key="text", type=frame_pb2.ITEM_TYPE_TEXT, data=text.encode())
    return loader_pb2.SessionRequest(frame=frame_pb2.Frame(items=[item]))


@dataclass
class Load:
    """`count` sessions at any time, each of `frames` frames `period_s` apart."""

    address: str
    count: int
    frames: int = 6
    period_s: float = 0.2
    engine: str = "echo"
    failures: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)  # finished sessions
    slowest_open_s: float = 0.0

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._open = 0
        self._all_open = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        if not self._all_open.wait(START_S):
            self._stop.set()
            self._thread.join(END_S)
            raise AssertionError(f"{self._open} of {self.count} sessions are open: {self.failures[:3]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(END_S)
        assert not self._thread.is_alive(), "sessions do not end"

    async def _run(self) -> None:
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = loader_pb2_grpc.LoaderServiceStub(channel)
            await asyncio.gather(*(self._talk(stub, number) for number in range(self.count)))

    async def _talk(self, stub: loader_pb2_grpc.LoaderServiceStub, number: int) -> None:
        is_first = True
        while not self._stop.is_set():
            try:
                await self._session(stub, f"s{number}", is_first)
            except Exception as error:  # whatever it is, a session was lost
                self.failures.append(f"{time.strftime('%T')} {error!r}"[:400])
                await asyncio.sleep(self.period_s)
            is_first = False

    async def _session(self, stub: loader_pb2_grpc.LoaderServiceStub, text: str, is_first: bool) -> None:
        call = stub.Session(timeout=60)
        began_s = time.monotonic()
        target = loader_pb2.Target(engine=self.engine)
        await call.write(loader_pb2.SessionRequest(open=loader_pb2.Open(target=target)))
        version = (await call.read()).opened.engine_version
        self.slowest_open_s = max(self.slowest_open_s, time.monotonic() - began_s)
        if is_first:
            self._open += 1
            if self._open == self.count:
                self._all_open.set()
        for _ in range(self.frames):
            await call.write(frame(text))
            answer = bytes((await call.read()).result.items[0].data).decode()
            assert answer == f"{version}:{text}", f"{answer} from a session of {version}"
            await asyncio.sleep(0 if self._stop.is_set() else self.period_s)
        await call.write(loader_pb2.SessionRequest(end=loader_pb2.End()))
        final = (await call.read()).final
        assert final.reason == loader_pb2.CLOSE_REASON_FINISHED, loader_pb2.CloseReason.Name(final.reason)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        self.versions[version] += 1

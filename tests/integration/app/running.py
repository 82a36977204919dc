"""A real `loader` process for tests: started on free ports, waited for by its ready line, ended with its hosts."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import grpc
import psutil

from loader.v1 import admin_pb2, admin_pb2_grpc, frame_pb2, loader_pb2, loader_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

READY_S = 120
END_S = 60
CALL_S = 30
PROGRAM = Path(sys.executable).parent / "loader"


def command(*arguments: str) -> list[str]:
    """The installed command `loader`."""
    return [str(PROGRAM), *arguments]


def until(is_true: Callable[[], Any], what: str, limit_s: float = 60) -> Any:
    """What `is_true` gives once it is true; asks again, with a deadline, where nothing can be waited for."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        value = is_true()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s} s: {what}")


def runs(process: psutil.Process) -> bool:
    """Whether it has not ended, reaped or not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass
class Running:
    """One running loader."""

    folder: Path
    config: str
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] = field(init=False)
    ready: dict[str, Any] = field(init=False)
    channel: grpc.Channel = field(init=False)
    log: IO[bytes] = field(init=False)

    @property
    def file(self) -> Path:
        return self.folder / "service.yaml"

    def __enter__(self) -> Running:
        self.file.write_text(self.config)
        self.log = (self.folder / "loader.log").open("wb")
        self.process = subprocess.Popen(
            command(
                "--config", str(self.file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", *self.arguments
            ),
            stdout=subprocess.PIPE,
            stderr=self.log,
        )
        try:
            self.ready = json.loads(self._ready_line())
        except BaseException:
            self.process.kill()
            self._close()
            raise
        self.channel = grpc.insecure_channel(self.ready["grpc"])
        self.engine = loader_pb2_grpc.LoaderServiceStub(self.channel)
        self.admin = admin_pb2_grpc.AdminServiceStub(self.channel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hosts = self.hosts() if self.process.poll() is None else []
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_S)
            _, alive = psutil.wait_procs(hosts, timeout=END_S)
            assert not alive, f"hosts outlived their loader: {alive}"
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self._close()

    def _close(self) -> None:
        assert self.process.stdout is not None
        self.process.wait(END_S)
        self.process.stdout.close()
        self.log.close()
        if hasattr(self, "channel"):
            self.channel.close()

    def _ready_line(self) -> bytes:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(READY_S):
                raise AssertionError(f"no ready line in {READY_S} s; the log:\n{self.log_text()}")
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(END_S)
            raise AssertionError(f"ended with {code} before it was ready; the log:\n{self.log_text()}")
        return line

    def rewrite(self, text: str) -> None:
        """Replaces its file as an editor does: never half of it is there."""
        beside = self.folder / "beside.yaml"
        beside.write_text(text)
        beside.replace(self.file)

    def log_text(self) -> str:
        return (self.folder / "loader.log").read_text()

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """The log's records of one event."""
        lines = [line for line in self.log_text().splitlines() if line.startswith("{") and line.endswith("}")]
        return [record for record in map(json.loads, lines) if record["event"] == event]

    def hosts(self) -> list[psutil.Process]:
        """What it started and what that started, as far as it runs: one that has ended may still be in the table."""
        return [process for process in self._descendants() if runs(process)]

    def _descendants(self) -> list[psutil.Process]:
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):  # one ended while they were counted
                return psutil.Process(self.process.pid).children(recursive=True)
            if self.process.poll() is not None:
                return []

    def instance(self, engine: str, index: int = 0) -> Any:
        """The status of one instance."""
        engines = self.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=CALL_S).engines
        return next(e for e in engines if e.description.name == engine).instances[index]

    def echo(self, engine: str, text: str = "hello") -> str:
        """One exec with one text item; the first item that comes back."""
        item = frame_pb2.Item(key="text", type=frame_pb2.ITEM_TYPE_TEXT, data=text.encode())
        request = loader_pb2.ExecRequest(
            target=loader_pb2.Target(engine=engine), frame=frame_pb2.Frame(items=[item])
        )
        response = self.engine.Exec(request, timeout=CALL_S)
        return bytes(response.frames[0].items[0].data).decode()

    def open_session(self, engine: str) -> Session:
        session = Session(self, engine)
        session.wait_opened()
        return session


class Session:
    """One open session that sends only what it is told to."""

    def __init__(self, running: Running, engine: str) -> None:
        import queue

        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.say(loader_pb2.SessionRequest(open=loader_pb2.Open(target=loader_pb2.Target(engine=engine))))
        self.call = running.engine.Session(iter(self._requests.get, None), timeout=60)
        self.session_id = ""

    def say(self, request: Any) -> None:
        self._requests.put(request)

    def wait_opened(self) -> None:
        self.session_id = next(self.call).opened.session_id

    def write(self, text: str) -> None:
        """One frame with one text item."""
        item = frame_pb2.Item(key="text", type=frame_pb2.ITEM_TYPE_TEXT, data=text.encode())
        self.say(loader_pb2.SessionRequest(frame=frame_pb2.Frame(items=[item])))

    def result(self) -> str:
        """The first item of the next result."""
        for response in self.call:
            if response.HasField("result"):
                return bytes(response.result.items[0].data).decode()
        raise AssertionError("the stream ended without a result")

    def end(self) -> Any:
        """Ends the input; the Final message."""
        self.say(loader_pb2.SessionRequest(end=loader_pb2.End()))
        return self.final()

    def final(self) -> Any:
        """The Final message; results before it are passed over."""
        try:
            for response in self.call:
                if response.HasField("final"):
                    return response.final
        finally:
            self._requests.put(None)
        raise AssertionError("the stream ended without final")


def processes_of(folder: Path) -> Iterator[psutil.Process]:
    """Every process whose command line names a file of `folder`."""
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in process.cmdline()) and process.pid != os.getpid():
                yield process
        except psutil.Error:
            continue

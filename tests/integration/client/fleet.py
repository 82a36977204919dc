"""Several loaders on one machine that announce themselves in one registry, and registries that a test writes itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
from freezing import freeze

from loader.consul_link import ConsulAccess
from loader.registry import NodeEntry, open_registry
from loader.v1 import admin_pb2, admin_pb2_grpc

ROOT = Path(__file__).resolve().parents[3]
READY_S = 120
END_S = 60
TIMEOUT_S = 30.0
NOBODY = "127.0.0.1:1"  # refuses connections


def until(is_true: Callable[[], Any], what: str, limit_s: float = 60) -> Any:
    """What `is_true` gives once it is true; asks again, with a deadline, where nothing can be waited for."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        value = is_true()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s} s: {what}")


class Node:
    """One loader under a name; may be ended and started again, at another port."""

    def __init__(self, folder: Path, name: str, engines: dict[str, Any], **keys: Any) -> None:
        self.name = name
        self._folder = folder / name
        self._folder.mkdir()
        config = {"service": "speech", "node": name, "engines": engines, **keys}
        (self._folder / "service.yaml").write_text(json.dumps(config))
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.entry = NodeEntry(name, "")

    def start(self) -> Node:
        command = [
            str(Path(sys.executable).with_name("loader")),
            "--config",
            str(self._folder / "service.yaml"),
        ]
        command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        with (self._folder / "loader.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        return self

    def wait_ready(self) -> Node:
        assert self._process is not None
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            assert selector.select(READY_S), f"not ready in time: {self.log_text()}"
        line = self._process.stdout.readline()
        assert line, f"ended before it was ready: {self.log_text()}"
        self.address = json.loads(line)["grpc"]
        return self

    def ask_to_end(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait_ended(self) -> int:
        assert self._process is not None
        code = self._process.wait(END_S)
        self._close()
        return code

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self.wait_ended()

    def pause(self) -> None:
        """It holds its connections and answers nothing."""
        assert self._process is not None
        freeze(self._process.pid)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def drain(self) -> None:
        """It takes nothing new, and stays."""
        self._admin("Drain", admin_pb2.DrainRequest(timeout_s=TIMEOUT_S, stay=True))

    def undrain(self) -> None:
        self._admin("Undrain", admin_pb2.UndrainRequest())

    def close(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            finally:
                self._process.kill()
                self._close()

    def log_text(self) -> str:
        return (self._folder / "loader.log").read_text()

    def _admin(self, method: str, request: Any) -> None:
        with grpc.insecure_channel(self.address) as channel:
            getattr(admin_pb2_grpc.AdminServiceStub(channel), method)(request, timeout=TIMEOUT_S)

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdout is not None:
            process.stdout.close()


class Fleet:
    """The nodes of one test."""

    def __init__(self, folder: Path, registry: str) -> None:
        self.registry = registry
        self._folder = folder
        self._stack = ExitStack()
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, name: str, engines: dict[str, Any] | None = None, slots: int = 8, **keys: Any) -> Node:
        """A node that is starting; the echo engine where nothing else is said."""
        engines = engines or {"echo": echo(slots)}
        node = Node(self._folder, name, engines, registry=self.registry, **keys)
        self._stack.callback(node.close)
        self.nodes[name] = node
        return node.start()

    def ready(self) -> Fleet:
        """All are ready and listed."""
        for node in self.nodes.values():
            node.wait_ready()
        self.wait_listed(*self.nodes)
        return self

    def wait_listed(self, *names: str) -> list[NodeEntry]:
        """Until the registry lists these nodes and no others, at the addresses they have now."""
        wanted = {(name, self.nodes[name].address) for name in names}

        def listed() -> list[NodeEntry] | None:
            entries = entries_of(self.registry)
            return entries if {(one.node, one.address) for one in entries} == wanted else None

        found: list[NodeEntry] = until(listed, f"{names} listed")
        return found

    def name_of(self, session: Any) -> str:
        """The node that serves the session."""
        return next(node.name for node in self.nodes.values() if node.address == session.address)


def echo(slots: int = 8, **keys: Any) -> dict[str, Any]:
    """The echo engine; a session that finds no slot is refused soon."""
    return {"wrapper": str(ROOT / "wrappers/echo_py"), "slots": slots, "admission_wait_ms": 200, **keys}


def entries_of(url: str) -> list[NodeEntry]:
    """What the registry lists now."""

    async def read() -> list[NodeEntry]:
        registry = open_registry(url, ConsulAccess())
        try:
            return await registry.nodes()
        finally:
            await registry.close()

    return asyncio.run(read())


def announce(url: str, *entries: NodeEntry) -> None:
    """Makes the registry list these, true or not; for one lease."""

    async def write() -> None:
        for entry in entries:
            registry = open_registry(url, ConsulAccess())
            await registry.announce(entry)
            await registry.close()

    asyncio.run(write())


@contextlib.contextmanager
def held(sessions: Iterable[Any]) -> Iterator[list[Any]]:
    """Opens them all, closes them all."""
    with ExitStack() as stack:
        yield [stack.enter_context(session) for session in sessions]


def echoes(session: Any, text: str) -> bool:
    """One frame there and back on an open session."""
    session.write({"text": text})
    return next(iter(session.results()))["text"] == text

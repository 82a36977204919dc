"""A service of several loaders behind one center, and the command `loader` as operators run it."""

from __future__ import annotations

import asyncio
import json
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeVar

import grpc

from loader.center import AckState, Center, Document, HistoryEntry, open_center
from loader.client import Client, Target
from loader.consul_link import ConsulAccess
from loader.errors import BadConfigError, LoaderError
from loader.v1 import admin_pb2, admin_pb2_grpc

PROGRAM = str(Path(sys.executable).with_name("loader"))
LIMIT_S = 110

T = TypeVar("T")

# Says which version it is; fails, dies or is slow where its configuration says so.
WRAPPER = """
    import os
    import time

    from loader import Session, Wrapper

    class Echo(Wrapper):
        def init(self, config):
            if config.get("fails") == "init":
                raise RuntimeError("no model here")
            self.config = config

        def exec(self, request):
            return self.answer(request)

        def answer(self, frame):
            if self.config.get("fails") == "exec":
                raise RuntimeError("no good")
            if self.config.get("fails") == "death":
                os._exit(7)
            time.sleep(self.config.get("slow_s", 0))
            return {"version": self.config.get("name", "1.0")}

        def create(self, params):
            return EchoSession(self)

    class EchoSession(Session):
        def __init__(self, engine):
            self.engine = engine

        def write(self, frame):
            return self.engine.answer(frame)
"""

SERVICE = """\
# The echo service.
service: speech
engines:
  echo:
    wrapper: {folder}/echo.py
    slots: 8
    versions:
      # the stable one
      "1.0": {{weight: 100, config: {{name: "1.0"}}}}  # all of it
      "2.0": {{weight: 0, config: {{name: "2.0"{more}}}}}
"""


def ctl(*arguments: str | Path, stdin: str = "", **more: Any) -> subprocess.CompletedProcess[str]:
    """The command, to its end. Never a traceback."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        **more,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def answer(*arguments: str | Path, code: int = 0) -> Any:
    """What the command prints as JSON."""
    done = ctl(*arguments, "--output", "json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def until(is_true: Callable[[], Any], what: str) -> Any:
    """Asks again until it is true, with a deadline."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        value = is_true()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {LIMIT_S} s: {what}")


@dataclass
class Service:
    """Loaders that follow one center."""

    folder: Path
    center: str  # URL
    has_registry: bool
    addresses: dict[str, str] = field(default_factory=dict)  # by node
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def where(self) -> tuple[str, ...]:
        """The options that name the center."""
        return ("--center", self.center)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The options that name the center and, without a registry, the loaders."""
        if self.has_registry:
            return self.where
        return (*self.where, *(part for one in self.addresses.values() for part in ("--address", one)))

    def text(self, more: str = "") -> str:
        return SERVICE.format(folder=self.folder, more=more)

    def ask(self, use: Callable[[Center], Awaitable[T]]) -> T:
        """What the center itself says: no command is in between."""

        async def asked() -> T:
            center = open_center(self.center, ConsulAccess())
            try:
                return await use(center)
            finally:
                await center.close()

        return asyncio.run(asked())

    def put(self, text: str) -> str:
        """The configuration of the center from now on; its revision."""

        async def changed(center: Center) -> str:
            try:
                expected = (await center.load()).name
            except BadConfigError:
                expected = ""
            return (await center.put([Document("service.yaml", text)], expected, "the test")).name

        return self.ask(changed)

    def held(self) -> str:
        """The configuration in the center."""
        return self.ask(lambda center: center.load()).root.text

    def revisions(self) -> list[HistoryEntry]:
        """The history of the center."""
        return self.ask(lambda center: center.history())

    def weights(self) -> dict[str, int]:
        """By version, as the loaders say; all of them the same."""
        said: set[tuple[str, int]] = set()
        for address in self.addresses.values():
            with grpc.insecure_channel(address) as channel:
                stub = admin_pb2_grpc.AdminServiceStub(channel)
                engines = stub.ListEngines(admin_pb2.ListEnginesRequest(), timeout=LIMIT_S).engines
            said |= {(one.description.version, one.weight) for one in engines if one.is_routed}
        assert len(said) == len({version for version, _ in said}), said
        return dict(said)

    @contextmanager
    def loaders(self, *names: str) -> Iterator[None]:
        """These nodes serve, and have said so to the center."""
        with ExitStack() as stack:
            for name in names:
                stack.enter_context(self._loader(name))
            until(lambda: self._acknowledged() >= set(names), "all nodes have acknowledged")
            yield

    def _acknowledged(self) -> set[str]:
        said = self.ask(lambda center: center.acknowledgements())
        return {one.node for one in said if one.state is AckState.APPLIED}

    @contextmanager
    def _loader(self, name: str) -> Iterator[None]:
        bootstrap = self.folder / f"{name}.yaml"
        bootstrap.write_text(
            f"center: {self.center}\nnode: {name}\ngrpc: 127.0.0.1:0\nhttp: 127.0.0.1:0\n"
            f"cache: {self.folder / name}\n"
        )
        log = self.folder / f"{name}.log"
        with (
            log.open("w") as errors,
            subprocess.Popen(
                [PROGRAM, "--config", str(bootstrap)], stdout=subprocess.PIPE, stderr=errors, text=True
            ) as process,
        ):
            assert process.stdout is not None
            try:
                with selectors.DefaultSelector() as selector:
                    selector.register(process.stdout, selectors.EVENT_READ)
                    assert selector.select(LIMIT_S), log.read_text()
                line = process.stdout.readline()
                assert line, log.read_text()
                self.addresses[name] = json.loads(line)["grpc"]
                self.processes[name] = process
                yield
                if process.poll() is None:
                    process.terminate()
                assert process.wait(LIMIT_S) == 0, log.read_text()
            finally:
                process.kill()

    @contextmanager
    def calls(self) -> Iterator[dict[str, int]]:
        """Calls to every node, one after the other, as long as it lasts: counts by version, or `error`."""
        counts: dict[str, int] = {}
        stop = threading.Event()

        def call(address: str) -> None:
            with Client(address) as client:
                while not stop.is_set():
                    name = "error"
                    try:
                        results = client.exec(Target("echo"), {"text": "x"}, timeout_s=30)
                        name = str(results[0]["version"])
                    except LoaderError:
                        pass
                    counts[name] = counts.get(name, 0) + 1
                    stop.wait(0.005)

        threads = [threading.Thread(target=call, args=(one,)) for one in self.addresses.values()]
        for thread in threads:
            thread.start()
        try:
            yield counts
        finally:
            stop.set()
            for thread in threads:
                thread.join(LIMIT_S)


def write_wrapper(folder: Path) -> None:
    (folder / "echo.py").write_text(dedent(WRAPPER))

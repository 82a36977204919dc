"""One loader with a hostile engine and an innocent one, and what must hold when the hostile thing is done.

The innocent engine has a session open the whole time. After the block the hostile engine must serve again,
nothing may be in use any more, and after the loader's end nothing may be left on the machine.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from running import Running, until

from loader.client import Client
from loader.errors import LoaderError
from loader.v1 import admin_pb2

CHECKOUT = Path(__file__).parents[2]
LIBRARIES = Path(os.environ.get("HOSTILE_LIBRARIES", CHECKOUT / "build" / "hostile"))
HOSTILE = LIBRARIES / "hostile.so"
ECHO = LIBRARIES / "echo_c.so"
LIMIT_S = 30.0
STOP_S = 40.0
MARK = "HOSTILE_TEST_MARK"
WATCHER = 1  # the thread that watches the configuration may start after the ready line
# What must be 0 when no client is there any more.
GAUGES = ("sessions_open", "slots_used", "queue_depth", "queued_input_bytes", "queued_result_bytes")

MEAN: dict[str, Any] = {
    "wrapper": str(HOSTILE), "slots": 4, "threads": 2, "hang_grace_ms": 200, "host_timeout_ms": 5000,
    "init_timeout_s": 20, "restart": {"backoff_s": 0.05, "backoff_max_s": 0.2, "intensity": 50},
}  # fmt: skip
# Of an engine that hangs: how long a test waits, and how long the machine may stand still beside it.
HANGING: dict[str, Any] = {"call_timeout_ms": 1500, "create_timeout_ms": 1500, "destroy_timeout_ms": 1500}
KIND: dict[str, Any] = {"wrapper": str(ECHO), "slots": 4}


class Witness:
    """An innocent session. Every beat is one frame and its echo; a watcher reads the results."""

    def __init__(self, client: Client) -> None:
        self._session = client.session("kind", timeout_s=120)
        self._session.__enter__()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._count = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for result in self._session.results():
                self._results.put(result["n"])
        except LoaderError as error:
            self._results.put(error)
        self._results.put(None)

    def beat(self) -> None:
        """One frame there and back."""
        self._count += 1
        self._session.write({"n": str(self._count)}, timeout_s=LIMIT_S)
        assert self._results.get(timeout=LIMIT_S) == str(self._count)

    def end(self) -> None:
        """It finished like any other session, with every frame answered."""
        self._session.end()
        assert self._results.get(timeout=LIMIT_S) is None
        self._reader.join(LIMIT_S)
        final = self._session.final
        self._session.__exit__(None, None, None)
        assert final is not None
        assert (final.reason, final.frames_in, final.frames_out) == ("finished", self._count, self._count)


@dataclass
class Scene:
    """What a test of one behavior works with."""

    running: Running
    client: Client
    witness: Witness
    mark: str
    first_pid: int
    is_ended: bool = False
    threads_before: int = field(init=False)
    fds_before: int = field(init=False)
    segments_before: int = field(init=False)

    @classmethod
    def beside(cls, running: Running, client: Client, mark: str) -> Scene:
        """A scene without a hostile engine: the witness and the counters."""
        witness = Witness(client)
        witness.beat()
        return cls(running, client, witness, mark, 0)

    def __post_init__(self) -> None:
        self.loader = psutil.Process(self.running.process.pid)
        self.threads_before = self.loader.num_threads()
        self.fds_before = self.loader.num_fds()
        self.segments_before = self.segments()
        assert self.segments_before > 0

    def exec(self, items: Any = None, timeout_s: float = LIMIT_S) -> Any:
        """A calm one-shot call of the hostile engine, or one with these items."""
        return self.client.exec("mean", {"x": "calm"} if items is None else items, timeout_s=timeout_s)

    def provoke(self, entry: str) -> tuple[str, str, LoaderError | None]:
        """Walks the session to `entry`: (close reason, error name, the error)."""
        if entry == "exec":
            try:
                self.exec({"trigger": "x"})
            except LoaderError as error:
                return "", error.name, error
            return "", "", None
        return self._session_to(entry)

    def _session_to(self, entry: str) -> tuple[str, str, LoaderError | None]:
        session = self.client.session("mean", timeout_s=LIMIT_S)
        try:
            with session:
                session.write({"trigger" if entry == "write" else "x": "y"})
                if entry == "cancel":
                    next(session.results())
                    session.cancel()
                list(session)
        except LoaderError as error:
            return session.final.reason if session.final else "", error.name, error
        return session.final.reason if session.final else "", "", None

    def is_serving(self) -> bool:
        """The hostile engine answers a calm call."""
        try:
            [result] = self.exec(timeout_s=5)
        except LoaderError:
            return False
        return bool(result["x"] == "calm")

    def assert_recovered(self) -> None:
        """The hostile engine serves again; the innocent one always did."""
        self.witness.beat()
        until(self.is_serving, "the hostile engine serves again", LIMIT_S)
        self.witness.beat()

    def statistics(self) -> dict[str, float]:
        """The counters of AdminService."""
        answer = self.running.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30)
        return dict(answer.values)

    def count(self, name: str) -> float:
        """One counter of the hostile engine."""
        return self.statistics()[f'loader_{name}{{engine="mean",version="1"}}']

    def in_use(self) -> dict[str, float]:
        """What is still taken; empty when nothing is."""
        return {
            name: value
            for name, value in self.statistics().items()
            if value and name.removeprefix("loader_").split("{")[0] in GAUGES
        }

    def segments(self) -> int:
        """Memory files that the loader has mapped: the arenas of its hosts, and nothing else."""
        lines = Path(f"/proc/{self.loader.pid}/maps").read_text().splitlines()
        return sum("/memfd:" in line for line in lines)

    def assert_unused(self) -> None:
        """No session, slot or queued byte; as many descriptors, threads and memory files as before."""
        until(lambda: not self.in_use(), f"nothing is in use: {self.in_use()}", LIMIT_S)
        until(
            lambda: self.loader.num_fds() <= self.fds_before,
            f"descriptors of the loader: {self.fds_before} before, {self.loader.num_fds()} now", LIMIT_S,
        )  # fmt: skip
        until(
            lambda: self.loader.num_threads() <= self.threads_before + WATCHER,
            f"threads of the loader: {self.threads_before} before, {self.loader.num_threads()} now", LIMIT_S,
        )  # fmt: skip

        until(
            lambda: self.segments() <= self.segments_before,
            f"memory files of the loader: {self.segments_before} before, {self.segments()} now", LIMIT_S,
        )  # fmt: skip

    def stop(self) -> None:
        """SIGTERM, exit code 0, nothing left."""
        self.is_ended = True
        self.client.close()
        self.running.process.send_signal(signal.SIGTERM)
        assert self.running.process.wait(STOP_S) == 0, self.running.log_text()[-4000:]
        assert_nothing_left(self.mark)

    def kill(self) -> None:
        """SIGKILL; nothing left within seconds, although nobody could tidy up."""
        self.is_ended = True
        self.running.process.kill()
        self.running.process.wait(STOP_S)
        assert_nothing_left(self.mark)


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that inherited this mark, whoever its parent is by now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.pid != os.getpid():
                found.append(process)
    return found


def assert_nothing_left(mark: str) -> None:
    """No process of that loader; with them go threads, descriptors and memory files."""
    until(lambda: not marked(mark), f"no process is left: {marked(mark)}", LIMIT_S)


@contextmanager
def running_marked(folder: Path, config: dict[str, Any]) -> Iterator[tuple[Running, str]]:
    """A loader whose whole family carries a mark in its environment."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    try:
        with Running(folder, json.dumps(config)) as running:
            del os.environ[MARK]
            yield running, mark
    finally:
        os.environ.pop(MARK, None)
        for process in marked(mark):  # only where the test has failed
            with suppress(psutil.Error):
                process.kill()


@contextmanager
def hostile(
    folder: Path, behavior: str, entry: str, *, serves_again: bool = True, **engine: Any
) -> Iterator[Scene]:
    """The scene; what must hold afterwards is checked when the block has ended well."""
    mean = MEAN | {"config": {"behavior": behavior, "entry": entry}} | engine
    config = {"drain_timeout_s": 5, "engines": {"mean": mean, "kind": KIND}}
    with running_marked(folder, config) as (running, mark), Client(running.ready["grpc"]) as client:
        witness = Witness(client)
        witness.beat()
        scene = Scene(running, client, witness, mark, running.instance("mean").pid)
        yield scene
        if scene.is_ended:
            return
        if serves_again:
            scene.assert_recovered()
        witness.beat()
        assert running.instance("kind").restarts == 0
        witness.end()
        if serves_again:
            scene.assert_unused()
        scene.stop()

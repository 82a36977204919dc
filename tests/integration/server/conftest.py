"""A data plane of its own for each test: loader._core with echo_c in its own process, no control plane."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from loader import _core
from loader.v1 import loader_pb2

HOST = Path(_core.__file__ or "").parent / "loader-host"
WRAPPERS = Path(__file__).parents[3] / "wrappers"
DESCRIPTORS = Path("/proc/self/fd")
WAIT_S = 20.0


class Plane:
    """One server, its hosts, and what it said."""

    def __init__(self, shards: int, options: dict[str, Any]) -> None:
        self.core = _core.Server({"shards": shards, **options})
        self.core.start()
        self.address = self.core.listen("127.0.0.1:0", "public", None)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.events: list[dict[str, Any]] = []
        self.channel = grpc.insecure_channel(self.address)

    def add_echo(self, **options: Any) -> int:
        self.route_echo(**options)
        return self.start_host()

    def route_echo(self, **options: Any) -> None:
        folder = WRAPPERS / "echo_c"
        base = {"slots": 8, "directory": str(folder), "entry": "wrapper.so", "language": "native"}
        self.add_engine(base | options)

    def add_engine(self, options: dict[str, Any]) -> None:
        """The engine `echo`, routed, without a host."""
        self.engine = self.core.add_engine("echo", "1", options)
        self.core.apply({"routes": {"echo": [{"engine": self.engine}]}})

    def start_host(self) -> int:
        instance = self.begin_host()
        self.wait_for("instance_ready", instance=instance)
        return instance

    def begin_host(self, *, is_held: bool = False) -> int:
        """Not waited for. One that is held does nothing before SIGCONT."""
        hold = ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh"] if is_held else []
        seed = self.core.prepare_instance(self.engine, len(self.processes))
        process = subprocess.Popen(
            [*hold, str(HOST), *seed["arguments"]], pass_fds=seed["fds"], start_new_session=True
        )
        self.processes.append(process)
        if is_held:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.core.attach_instance(seed["instance"], process.pid)
        return int(seed["instance"])

    def wait_for(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next event of that kind with those fields; fails after WAIT_S."""
        return self.wait_until(
            lambda event: event["kind"] == kind and all(event[k] == v for k, v in fields.items())
        )

    def wait_until(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while True:
            found = next((event for event in self.events if matches(event)), None)
            if found is not None:
                self.events.remove(found)
                return found
            left = deadline - time.monotonic()
            assert left > 0, f"not told in {WAIT_S} s; told: {self.events}"
            select.select([self.core.event_fd()], [], [], left)
            self.events += self.core.take_events()

    def counters(self) -> dict[str, int]:
        engines: list[dict[str, Any]] = self.core.statistics()["engines"]
        return dict(engines[0]["counters"])

    def wait_counters(self, **wanted: int) -> None:
        """Until they are these; an answer may be with its client before the rest is done."""
        deadline = time.monotonic() + WAIT_S
        while not wanted.items() <= (found := self.counters()).items():
            assert time.monotonic() < deadline, found
            time.sleep(0.01)

    def stop(self) -> None:
        self.channel.close()
        self.core.stop()
        for process in self.processes:
            process.wait(WAIT_S)

    # ---- calls

    def exec(self, request: loader_pb2.ExecRequest, **kwargs: Any) -> loader_pb2.ExecResponse:
        return self._unary()(request, timeout=kwargs.pop("timeout", WAIT_S), **kwargs)

    def begin_exec(self, request: loader_pb2.ExecRequest) -> grpc.Future:
        """Waits for its answer as long as the data plane does."""
        return self._unary().future(request, timeout=120.0)

    def _unary(self) -> Any:
        return self.channel.unary_unary(
            "/loader.v1.LoaderService/Exec",
            loader_pb2.ExecRequest.SerializeToString,
            loader_pb2.ExecResponse.FromString,
        )

    def session(self, requests: Any, **kwargs: Any) -> Any:
        call = self.channel.stream_stream(
            "/loader.v1.LoaderService/Session",
            loader_pb2.SessionRequest.SerializeToString,
            loader_pb2.SessionResponse.FromString,
        )
        return call(requests, timeout=kwargs.pop("timeout", WAIT_S), **kwargs)


@pytest.fixture(params=[1, 3])
def plane(request: pytest.FixtureRequest) -> Iterator[Plane]:
    """Ends with every host gone and no descriptor left."""
    before = set(DESCRIPTORS.iterdir())
    one = Plane(request.param, {})
    try:
        yield one
    finally:
        one.stop()
    assert all(process.returncode is not None for process in one.processes)
    del one.core
    left = [_target(name) for name in set(DESCRIPTORS.iterdir()) - before]
    assert not [name for name in left if "memfd" in name], left


@pytest.fixture
def plane_with() -> Iterator[Callable[..., Plane]]:
    """Makes a plane of one shard with these options; ended with the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Plane:
            one = Plane(1, options)
            stack.callback(one.stop)
            return one

        yield make


def _target(name: Path) -> str:
    try:
        return str(name.readlink())
    except OSError:
        return ""

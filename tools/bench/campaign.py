"""Runs every scenario of the benchmark on every server, in alternating rounds, and keeps the samples.

Knows which loads there are; not which results are wanted.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench import servers
from tools.bench.first_result import first_result
from tools.bench.profile import Symbol, profile
from tools.bench.sample import (
    FailedError,
    Load,
    Sample,
    ceiling,
    held,
    measure,
    measure_undisturbed,
    settled_memory,
)
from tools.bench.servers import NotAvailableError, Server
from tools.bench.traffic import traffic
from tools.bench.web import exec_cost, post_cost, pushed

OURS = ("native", "inline", "python")
EVERYONE = ("bare", "inline", "native", "python", "aio", "triton")
LOADER = ("native", "inline", "python", "aiges")  # aiges: native, asked by a client of AIGES


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load on some servers."""

    name: str
    mode: str
    lanes: int
    size: int
    servers: tuple[str, ...]


SCENARIOS = (
    Scenario("exec 1 KiB, 16", "unary", 16, 1024, (*EVERYONE, "aiges")),
    Scenario("exec 1 KiB, 64", "unary", 64, 1024, EVERYONE),
    Scenario("session 1 KiB, 16", "stream", 16, 1024, EVERYONE),
    Scenario("session 1 KiB, 64", "stream", 64, 1024, EVERYONE),
    Scenario("exec 64 KiB, 16", "unary", 16, 64 << 10, ("bare", "native", "inline", "python")),
    Scenario("exec 1 MiB, 4", "unary", 4, 1 << 20, ("bare", "native", "inline", "python")),
    Scenario("exec 1 KiB, 1", "unary", 1, 1024, ("bare", "native", "inline", "python")),
    Scenario("polled session 1 KiB, 16", "xsf", 16, 1024, ("aiges",)),
    Scenario("256 paced", "paced", 256, 1024, ("bare", "native", "inline", "python")),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    streams_idle: int
    streams_stalled: int

    @property
    def is_smoke(self) -> bool:
        return self.rounds == 1 and self.seconds < 1


@dataclass(slots=True)
class Results:
    """Samples by scenario and server, single figures by name, and what could not be measured."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    profiles: dict[tuple[str, str], list[Symbol]] = field(default_factory=dict)

    def median(self, scenario: str, server: str, what: str = "cpu_us") -> float | None:
        """The median over the rounds; None: not measured."""
        rounds = self.samples.get((scenario, server))
        return statistics.median(getattr(s, what) for s in rounds) if rounds else None

    def figure(self, name: str) -> float | None:
        """The median of a single figure; None: not measured."""
        values = self.figures.get(name)
        return statistics.median(values) if values else None


class Campaign:
    """All servers run at once; the load goes to one at a time."""

    def __init__(self, programs: Path, triton: Path, folder: Path, plan: Plan) -> None:
        self._programs = programs
        self._triton = triton
        self._folder = folder
        self._plan = plan
        self._servers: dict[str, Server] = {}
        self.results = Results()

    def run(self) -> Results:
        """Every scenario."""
        with ExitStack() as stack:
            self._start(stack)
            for scenario in SCENARIOS:
                self._alternate(scenario)
            self._first_results()
            self._web()
            self._ceilings()
            self._memory()
        self._starts()
        return self.results

    def _start(self, stack: ExitStack) -> None:
        """What cannot start is left out, with its reason."""
        makers: dict[str, Callable[[], AbstractContextManager[Server]]] = {
            "bare": lambda: servers.bare(self._programs),
            "loader": lambda: servers.loader(self._folder, ("native", "inline", "python", "emitter")),
            "aio": servers.aio,
            "triton": lambda: servers.triton(self._folder, self._triton),
        }
        for name, make in makers.items():
            try:
                server = stack.enter_context(make())
            except NotAvailableError as reason:
                self._say(f"{name}: not measured: {reason}")
                self.results.missing[name] = str(reason)
                continue
            for alias in LOADER if name == "loader" else (name,):
                self._servers[alias] = server

    def _alternate(self, scenario: Scenario) -> None:
        seconds = self._plan.seconds
        load = Load(self._load, scenario.mode, scenario.lanes, seconds, min(0.7, seconds))
        for _ in range(self._plan.rounds):
            for name in scenario.servers:
                if name in self._servers and f"{scenario.name}, {name}" not in self.results.missing:
                    self._sample(scenario, name, load)
        if not self._plan.is_smoke:
            self._profile(scenario, load)

    def _profile(self, scenario: Scenario, load: Load) -> None:
        """In rounds of their own: recording would cost the samples."""
        for name in set(OURS) & set(scenario.servers) & set(self._servers):
            asked = traffic(self._folder, name, is_stream=scenario.mode != "unary", size=scenario.size)
            self.results.profiles[scenario.name, name] = profile(
                self._servers[name], load, asked, self._folder
            )

    def _sample(self, scenario: Scenario, name: str, load: Load) -> None:
        asked = traffic(self._folder, name, is_stream=scenario.mode != "unary", size=scenario.size)
        try:
            # At full load a quota always bites; a paced load is there for its p99.
            run = measure_undisturbed if scenario.mode == "paced" else measure
            sample = run(self._servers[name], load, asked)
        except FailedError as reason:
            self._say(f"{scenario.name}, {name}: {reason}")
            self.results.missing[f"{scenario.name}, {name}"] = str(reason)
            return
        self.results.samples.setdefault((scenario.name, name), []).append(sample)
        self._say(f"{scenario.name:20} {name:8} {sample.cpu_us:8.1f} us CPU {sample.rate:10.0f}/s "
                  f"p50 {sample.p50_us:8.0f} p99 {sample.p99_us:8.0f}")  # fmt: skip

    def _ceilings(self) -> None:
        for _ in range(self._plan.rounds):
            for name in ("bare", "native", "inline"):
                if name not in self._servers:
                    continue
                asked = traffic(self._folder, name, is_stream=False, size=1024)
                try:
                    rate = ceiling(self._servers[name], asked, self._folder, max(1, int(self._plan.seconds)))
                except (FailedError, OSError) as reason:
                    self.results.missing[f"ceiling, {name}"] = str(reason)
                    self._say(f"ceiling, {name}: {reason}")
                    continue
                self._keep(f"ceiling, {name}", rate)

    def _first_results(self) -> None:
        """What no frame asked for, fetched by an AIGES client."""
        if "aiges" not in self._servers:
            return
        for _ in range(self._plan.rounds):
            count = 20 if self._plan.is_smoke else 200
            polled, trip = first_result(self._servers["aiges"].address, "emitter", count)
            self._keep("emission to poll us", polled)
            self._keep("round trip us", trip)

    def _web(self) -> None:
        """The same pushed to a WebSocket, and a POST beside an Exec."""
        if "native" not in self._servers:
            return
        server = self._servers["native"]
        for _ in range(self._plan.rounds):
            push = pushed(server, "emitter", 20 if self._plan.is_smoke else 200)
            self._keep("emission to WebSocket ms, p50", push.p50)
            self._keep("emission to WebSocket ms, p99", push.p99)
            self._keep("WebSocket round trip ms", push.trip)
            for name, cost in (("POST", post_cost), ("Exec", exec_cost)):
                measured = cost(server, "native", 50 if self._plan.is_smoke else 1500)
                self._keep(f"{name} us CPU", measured.cpu)
                self._keep(f"{name} us p50", measured.p50)

    def _memory(self) -> None:
        """Idle and stalled sessions, and a healthy one beside them."""
        for name in ("bare", "native"):
            if name not in self._servers:
                continue
            try:
                self._idle(name)
            except FailedError as reason:
                self.results.missing[f"idle, {name}"] = str(reason)
                self._say(f"idle, {name}: {reason}")
        if "native" in self._servers:
            try:
                self._stalled("native")
            except FailedError as reason:
                self.results.missing["stalled"] = str(reason)
                self._say(f"stalled: {reason}")

    def _idle(self, name: str) -> None:
        count = self._plan.streams_idle
        asked = traffic(self._folder, name, is_stream=True, size=1024)
        before = settled_memory(self._servers[name])
        with held(self._servers[name], Load(self._load, "hold", count, 0), asked):
            grown = settled_memory(self._servers[name]) - before
        self._keep(f"idle bytes, {name}", grown / count)

    def _stalled(self, name: str) -> None:
        count = self._plan.streams_stalled
        server = self._servers[name]
        asked = traffic(self._folder, name, is_stream=True, size=1024)
        healthy = Load(self._load, "paced", 16, max(1.0, self._plan.seconds))
        before = settled_memory(server)
        self._keep("healthy p99 ms alone", measure_undisturbed(server, healthy, asked).p99_us / 1000)
        with held(server, Load(self._load, "stall", count, 0), asked):
            self._keep("stalled bytes", (settled_memory(server) - before) / count)
            self._keep(
                "healthy p99 ms beside stalled", measure_undisturbed(server, healthy, asked).p99_us / 1000
            )

    def _starts(self) -> None:
        """Start to ready, and the replacement of a killed host, with one native echo engine."""
        for _ in range(self._plan.rounds):
            try:
                with servers.loader(self._folder, ("native",)) as server:
                    self._keep("start s", server.ready_s)
                    self._keep("replacement s", replacement_s(server))
            except (NotAvailableError, FailedError) as reason:
                self.results.missing["start"] = str(reason)
                self._say(f"start: {reason}")
                return

    @property
    def _load(self) -> Path:
        return self._programs / "bench-load"

    def _keep(self, name: str, value: float) -> None:
        self.results.figures.setdefault(name, []).append(value)
        self._say(f"{name}: {value:.3f}")

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def replacement_s(server: Server) -> float:
    """Kills the engine's process; the time until another one is ready, as AdminService sees it."""
    import grpc

    from loader.v1 import admin_pb2
    from loader.v1.admin_pb2_grpc import AdminServiceStub

    def instance() -> admin_pb2.InstanceStatus:
        answer: admin_pb2.ListEnginesResponse = stub.ListEngines(admin_pb2.ListEnginesRequest(), timeout=5)
        return answer.engines[0].instances[0]

    with grpc.insecure_channel(server.address) as channel:
        stub = AdminServiceStub(channel)
        grpc.channel_ready_future(channel).result(5)
        victim = instance().pid
        started = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        while time.monotonic() - started < 10:
            now = instance()
            if now.state == "ready" and now.pid not in (0, victim):
                return time.monotonic() - started
            time.sleep(0.005)  # AdminService has to be asked
    raise FailedError("no replacement was ready within 10 s")

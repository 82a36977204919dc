"""The budget of design section 9 as rows: what was measured, the target, pass or miss. Measures nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from tools.bench.campaign import Results

# busy_poll_us is judged where a spinning thread leaves cores to the others.
CORES_FOR_BUSY_POLL = 6
# What AIGES itself takes with a C engine, as measured.
AIGES_CALL_US, AIGES_FRAME_US = 104.0, 63.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `value` None: not measured."""

    measure: str
    value: float | None
    unit: str
    target: float
    at_least: bool = False
    note: str = ""
    profile: tuple[str, str] | None = None  # the scenario and the server that tell most of it

    @property
    def name(self) -> str:
        """The measure, told from others by what it is compared with."""
        return f"{self.measure}, {self.unit}" if self.unit.startswith("x ") else self.measure

    @property
    def missed_by(self) -> str:
        """How far off; empty where it is not."""
        if self.value is None or self.verdict != "miss":
            return ""
        return f"{self.text}, target {self.target_text}: {abs(self.value / self.target - 1):.0%} off"

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        return (
            "pass" if (self.value >= self.target if self.at_least else self.value <= self.target) else "miss"
        )

    @property
    def text(self) -> str:
        return "" if self.value is None else f"{self.value:.2f} {self.unit}"

    @property
    def target_text(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.target:g} {self.unit}"


def rows(results: Results) -> Iterator[Row]:
    """Every row of the budget."""
    yield from _cpu_rows(results)
    yield from _rate_rows(results)
    yield from _latency_rows(results)
    yield from _memory_rows(results)
    yield Row("start to ready, echo engine", results.figure("start s"), "s", 1.0)
    yield Row("engine host crash to replacement ready", results.figure("replacement s"), "s", 0.5)


def _cpu_rows(results: Results) -> Iterator[Row]:
    for lanes in (16, 64):
        one, stream = f"exec 1 KiB, {lanes}", f"session 1 KiB, {lanes}"
        yield _ratio(results, f"{one}: native, inline", one, "inline", "bare", 0.75)
        yield _ratio(results, f"{one}: native, own process", one, "native", "bare", 1.0)
        yield _ratio(results, f"{stream}: native, own process", stream, "native", "bare", 1.1)
        yield _ratio(results, f"{one}: Python", one, "python", "bare", 1.15)
        yield _ratio(results, f"{one}: Python", one, "python", "triton", 0.15)
        yield _ratio(results, f"{stream}: Python", stream, "python", "bare", 1.25)
        yield _ratio(results, f"{stream}: Python", stream, "python", "triton", 0.05)
    yield _ratio(results, "exec 1 KiB, 16: an AIGES client", "exec 1 KiB, 16", "aiges", "native", 1.5)
    yield _aiges(results, "exec 1 KiB, 16: an AIGES client", "exec 1 KiB, 16", AIGES_CALL_US)
    yield _aiges(results, "session 1 KiB, 16: an AIGES client", "polled session 1 KiB, 16", AIGES_FRAME_US)
    for name in ("exec 64 KiB, 16", "exec 1 MiB, 4"):
        yield _ratio(results, f"{name}: native, own process", name, "native", "bare", 1.2)
    yield _ratio(results, "256 paced: native, own process", "256 paced", "native", "bare", 1.2)


def _aiges(results: Results, text: str, scenario: str, theirs: float) -> Row:
    value = results.median(scenario, "aiges")
    return Row(f"{text}, CPU", value, "µs", theirs / 5, note=f"a fifth of AIGES: {theirs:.0f} µs")


def _ratio(results: Results, text: str, scenario: str, server: str, base: str, target: float) -> Row:
    ours, theirs = results.median(scenario, server), results.median(scenario, base)
    value = ours / theirs if ours is not None and theirs else None
    note = f"{ours:.1f} / {theirs:.1f} µs" if ours is not None and theirs is not None else ""
    return Row(f"{text}, CPU", value, f"x {base}", target, note=note, profile=(scenario, server))


def _rate_rows(results: Results) -> Iterator[Row]:
    bare = results.figure("ceiling, bare")
    for server, text, target in (("native", "own process", 1.5), ("inline", "inline", 3.0)):
        rate = results.figure(f"ceiling, {server}")
        value = rate / bare if rate is not None and bare else None
        note = f"{rate:,.0f} / {bare:,.0f} calls a second" if rate is not None and bare else ""
        like = ("exec 1 KiB, 64", server)
        yield Row(f"ceiling with h2load, 1 KiB exec, 64: {text}", value, "x bare", target, True, note, like)


def _latency_rows(results: Results) -> Iterator[Row]:
    yield _added(results, "added p50 at concurrency 1, own process", "exec 1 KiB, 1", "p50_us", 1, "µs", 80)
    if (os.cpu_count() or 1) < CORES_FOR_BUSY_POLL:
        note = f"not measurable: it needs {CORES_FOR_BUSY_POLL} cores, here are {os.cpu_count()}"
        yield Row("the same with busy_poll_us", None, "µs", 25, note=note)
    polled, trip = results.figure("emission to poll us"), results.figure("round trip us")
    value = polled / trip if polled is not None and trip else None
    note = f"{polled:.0f} / {trip:.0f} µs" if polled is not None and trip is not None else ""
    text = "a result that no frame asked for, from a Python engine to a polling AIGES client, p50"
    yield Row(text, value, "x round trip", 1.0, note=note)
    yield from _web_rows(results)
    yield _added(results, "256 paced: p99 over bare's", "256 paced", "p99_us", 1000, "ms", 5)


def _web_rows(results: Results) -> Iterator[Row]:
    names = ("emission to WebSocket ms, p50", "emission to WebSocket ms, p99", "WebSocket round trip ms")
    p50, p99, trip = map(results.figure, names)
    note = f"p50 {p50:.2f}, round trip {trip:.2f} ms" if p50 is not None and trip is not None else ""
    yield Row("the same, pushed to a WebSocket client, p99", p99, "ms", 5.0, note=note)
    for what, unit, target in (("CPU", "us CPU", 25), ("p50", "us p50", 10)):
        post, plain = results.figure(f"POST {unit}"), results.figure(f"Exec {unit}")
        value = post / plain if post is not None and plain else None
        note = f"{post:.0f} / {plain:.0f} µs" if post is not None and plain is not None else ""
        yield Row(
            f"a POST of 1 KiB to a native engine, one at a time, {what}", value, "x Exec", target, note=note
        )


def _added(
    results: Results, text: str, scenario: str, what: str, divisor: float, unit: str, target: float
) -> Row:
    ours, theirs = results.median(scenario, "native", what), results.median(scenario, "bare", what)
    if ours is None or theirs is None:
        return Row(text, None, unit, target)
    note = f"{ours / divisor:.1f} - {theirs / divisor:.1f}"
    return Row(text, (ours - theirs) / divisor, unit, target, note=note, profile=(scenario, "native"))


def _memory_rows(results: Results) -> Iterator[Row]:
    stalled, idle = results.figure("stalled bytes"), results.figure("idle bytes, native")
    yield Row("a stalled session", None if stalled is None else stalled / 1024, "KiB", 160)
    alone, beside = results.figure("healthy p99 ms alone"), results.figure("healthy p99 ms beside stalled")
    added = None if alone is None or beside is None else beside - alone
    yield Row("p99 of healthy sessions beside stalled ones, added", added, "ms", 5)
    bare = results.figure("idle bytes, bare")
    note = f"bare: {bare / 1024:.1f}" if bare is not None else ""
    yield Row("an idle open session", None if idle is None else idle / 1024, "KiB", 6, note=note)

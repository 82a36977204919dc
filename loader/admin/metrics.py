"""The C++ counters and the supervisor's states as Prometheus metrics, read when they are asked for.

Counts nothing itself. Names and texts are in metric_table.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from loader.admin.metric_table import INSTANCE_GAUGES, METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from loader._core import Server
    from loader.engine.supervisor import Supervisor

ENGINE_STATES = ("starting", "ready", "degraded", "failed", "draining", "stopped")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class CoreCollector:
    """A prometheus-client collector over one data plane and its supervisor."""

    def __init__(self, core: Server, supervisor: Supervisor) -> None:
        self._core = core
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        """Every metric, from one snapshot."""
        statistics: Mapping[str, Any] = self._core.statistics()
        for name, value in statistics["counters"].items():
            yield _plain(name, value)
        yield _refusals(statistics["refusals"])
        yield from _engine_counters(statistics["engines"])
        yield from _engine_histograms(statistics["engines"])
        yield _closed(statistics["engines"])
        yield from self._instances(statistics["instances"])
        yield from self._states()

    def _instances(self, rows: list[dict[str, Any]]) -> Iterator[Metric]:
        labels = ["engine", "version", "instance"]
        for key, text in INSTANCE_GAUGES.items():
            family = GaugeMetricFamily(f"loader_instance_{key}", text, labels=labels)
            for row in rows:
                family.add_metric([row["engine"], row["version"], str(row["index"])], row[key])
            yield family

    def _states(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "loader_engine_state", "1 for the state an engine is in.", labels=["engine", "state"]
        )
        restarts = CounterMetricFamily(
            "loader_instance_restarts", "Restarts of an instance.", labels=["engine", "instance"]
        )
        rss = GaugeMetricFamily(
            "loader_instance_rss_bytes",
            "Resident memory of an instance's process.",
            labels=["engine", "instance"],
        )
        dropped = CounterMetricFamily(
            "loader_output_dropped_bytes",
            "Engine output over the limit, not logged.",
            labels=["engine", "instance"],
        )
        for name, engine in self._supervisor.engines.items():
            for known in ENGINE_STATES:
                state.add_metric([name, known], float(engine.state == known))
            for instance in engine.instances:
                labels = [name, str(instance.index)]
                restarts.add_metric(labels, instance.restarts)
                rss.add_metric(labels, instance.process.rss_bytes() if instance.process else 0)
                dropped.add_metric(labels, instance.output_dropped_bytes)
        yield from (state, restarts, rss, dropped)


def exposition(core: Server, supervisor: Supervisor) -> bytes:
    """The text of /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(CoreCollector(core, supervisor))
    return generate_latest(registry)


def flat_statistics(statistics: Mapping[str, Any]) -> dict[str, float]:
    """Counters as names with labels, `loader_frames_in{engine="asr"}`, for GetStatistics."""
    values = {f"loader_{name}": float(value) for name, value in statistics["counters"].items()}
    for error, value in statistics["refusals"].items():
        values[f'loader_refusals{{error="{error}"}}'] = float(value)
    for engine in statistics["engines"]:
        label = f'engine="{engine["name"]}",version="{engine["version"]}"'
        for name, value in engine["counters"].items():
            values[f"loader_{name}{{{label}}}"] = float(value)
        for reason, value in engine["closed"].items():
            values[f'loader_sessions_closed{{{label},reason="{reason}"}}'] = float(value)
    return values


def _help(name: str) -> str:
    # A counter that the table does not have yet is shown all the same; a test asks for its row.
    return METRICS[name].text if name in METRICS else name.replace("_", " ").capitalize() + "."


def _is_gauge(name: str) -> bool:
    return name in METRICS and METRICS[name].kind is Kind.GAUGE


def _plain(name: str, value: float) -> Metric:
    family = GaugeMetricFamily if _is_gauge(name) else CounterMetricFamily
    return family(f"loader_{name}", _help(name), value=value)


def _refusals(refusals: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily("loader_refusals", _help("refusals"), labels=["error"])
    for error, value in refusals.items():
        family.add_metric([error], value)
    return family


def _engine_counters(engines: list[dict[str, Any]]) -> Iterator[Metric]:
    for name in dict.fromkeys(name for engine in engines for name in engine["counters"]):
        kind = GaugeMetricFamily if _is_gauge(name) else CounterMetricFamily
        family = kind(f"loader_{name}", _help(name), labels=["engine", "version"])
        for engine in engines:
            family.add_metric([engine["name"], engine["version"]], engine["counters"].get(name, 0))
        yield family


def _closed(engines: list[dict[str, Any]]) -> Metric:
    family = CounterMetricFamily(
        "loader_sessions_closed", _help("sessions_closed"), labels=["engine", "version", "reason"]
    )
    for engine in engines:
        for reason, value in engine["closed"].items():
            family.add_metric([engine["name"], engine["version"], reason], value)
    return family


def _engine_histograms(engines: list[dict[str, Any]]) -> Iterator[Metric]:
    for name in dict.fromkeys(name for engine in engines for name in engine["histograms"]):
        family = HistogramMetricFamily(f"loader_{name}", _help(name), labels=["engine", "version"])
        for engine in engines:
            histogram = engine["histograms"].get(name)
            if histogram is not None:
                family.add_metric(
                    [engine["name"], engine["version"]], _cumulative(histogram), histogram["sum"]
                )
        yield family


def _cumulative(histogram: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Buckets as Prometheus wants them: (upper bound, count up to it), `+Inf` last."""
    total = 0.0
    buckets = []
    bounds = [*(str(float(bound)) for bound in histogram["bounds"]), "+Inf"]
    for bound, count in zip(bounds, histogram["buckets"], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets

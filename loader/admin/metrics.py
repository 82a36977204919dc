"""The C++ counters and the supervisor's states as Prometheus metrics, read when they are asked for.

Counts nothing itself. Names and texts are in metric_table.py.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from loader.admin.metric_table import INSTANCE_GAUGES, METRICS, SUPERVISOR_METRICS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client.core import Metric

    from loader._core import Server
    from loader.engine.supervisor import Supervisor

ENGINE_STATES = ("starting", "ready", "degraded", "failed", "draining", "stopped")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ConfiguredNode(Protocol):
    """What the loader itself tells of its configuration."""

    @property
    def revision(self) -> str:
        """The revision that serves."""

    @property
    def rollout_counts(self) -> Mapping[str, int]:
        """How many revisions ended in each state."""

    @property
    def is_center_reachable(self) -> bool:
        """The config center answers."""

    @property
    def is_registry_reachable(self) -> bool:
        """The registry answers, or there is none."""


class CoreCollector:
    """A prometheus-client collector over one data plane and its supervisor."""

    def __init__(self, core: Server, supervisor: Supervisor, node: ConfiguredNode) -> None:
        self._core = core
        self._supervisor = supervisor
        self._node = node

    def collect(self) -> Iterator[Metric]:
        """Every metric, from one snapshot."""
        statistics: Mapping[str, Any] = self._core.statistics()
        for name, value in statistics["counters"].items():
            yield _plain(name, value)
        yield _refusals(statistics["refusals"])
        engines = by_version(statistics["engines"])
        yield from _engine_counters(engines)
        yield from _engine_histograms(engines)
        yield _closed(engines)
        yield from self._instances(statistics["instances"])
        yield from self._states()
        yield from self._resources()
        yield from self._configuration()

    def _instances(self, rows: list[dict[str, Any]]) -> Iterator[Metric]:
        labels = ["engine", "version", "instance"]
        for key, text in INSTANCE_GAUGES.items():
            family = GaugeMetricFamily(f"loader_instance_{key}", text, labels=labels)
            for row in rows:
                label = self._instance_label(row["engine_id"], row["index"])
                family.add_metric([row["engine"], row["version"], label], row[key])
            yield family

    def _resources(self) -> Iterator[Metric]:
        sizes: dict[str, list[int]] = {one.spec.name: [] for one in self._supervisor.deployments}
        for engine, entry, _ in self._supervisor.resources.entries():
            sizes.setdefault(engine, []).append(len(entry.resource.data))
        count = GaugeMetricFamily("loader_resources", _help("resources"), labels=["engine"])
        size = GaugeMetricFamily("loader_resource_bytes", _help("resource_bytes"), labels=["engine"])
        for engine, each in sizes.items():
            count.add_metric([engine], len(each))
            size.add_metric([engine], sum(each))
        yield from (count, size)

    def _configuration(self) -> Iterator[Metric]:
        node = self._node
        yield _gauge("center_reachable", float(node.is_center_reachable))
        yield _gauge("registry_reachable", float(node.is_registry_reachable))
        info = GaugeMetricFamily("loader_revision_info", _help("revision_info"), labels=["revision"])
        info.add_metric([node.revision], 1)
        rollouts = CounterMetricFamily("loader_rollouts", _help("rollouts"), labels=["state"])
        for state, count in node.rollout_counts.items():
            rollouts.add_metric([state], count)
        yield from (info, rollouts)

    def _instance_label(self, engine_id: int, index: int) -> str:
        """An instance that leaves while another of the same version serves has a label of its own."""
        is_leaving = any(one.is_leaving for one in self._supervisor.deployments if one.id == engine_id)
        return f"{index}-leaving-{engine_id}" if is_leaving else str(index)

    def _states(self) -> Iterator[Metric]:
        engine, instance = ["engine", "version"], ["engine", "version", "instance"]
        state = GaugeMetricFamily(
            "loader_engine_state", "1 for the state an engine is in.", labels=[*engine, "state"]
        )
        weight = GaugeMetricFamily("loader_engine_weight", _help("engine_weight"), labels=engine)
        restarts = CounterMetricFamily(
            "loader_instance_restarts", "Restarts of an instance.", labels=instance
        )
        rss = GaugeMetricFamily(
            "loader_instance_rss_bytes", "Resident memory of an instance's process.", labels=instance
        )
        dropped = CounterMetricFamily(
            "loader_output_dropped_bytes", _help("output_dropped_bytes"), labels=instance
        )
        for one in sorted(self._supervisor.deployments, key=lambda one: one.is_leaving):
            labels = [one.spec.name, one.spec.version]
            if not one.is_leaving:
                for known in ENGINE_STATES:
                    state.add_metric([*labels, known], float(one.state == known))
                weight.add_metric(labels, float(one.spec.config.weight if one.is_routed else 0))
            for each in one.instances:
                whole = [*labels, self._instance_label(one.id, each.index)]
                restarts.add_metric(whole, each.restarts)
                rss.add_metric(whole, each.process.rss_bytes() if each.process else 0)
                dropped.add_metric(whole, each.output_dropped_bytes)
        yield from (state, weight, restarts, rss, dropped)


def exposition(core: Server, supervisor: Supervisor, node: ConfiguredNode) -> bytes:
    """The text of /metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(CoreCollector(core, supervisor, node))
    return generate_latest(registry)


def flat_statistics(statistics: Mapping[str, Any]) -> dict[str, float]:
    """Counters as names with labels, `loader_frames_in{engine="asr"}`, for GetStatistics."""
    values = {f"loader_{name}": float(value) for name, value in statistics["counters"].items()}
    for error, value in statistics["refusals"].items():
        values[f'loader_refusals{{error="{error}"}}'] = float(value)
    for engine in by_version(statistics["engines"]):
        label = f'engine="{engine["name"]}",version="{engine["version"]}"'
        for name, value in engine["counters"].items():
            values[f"loader_{name}{{{label}}}"] = float(value)
        for reason, value in engine["closed"].items():
            values[f'loader_sessions_closed{{{label},reason="{reason}"}}'] = float(value)
        for name, histogram in engine["histograms"].items():
            for bound, count in _cumulative(histogram):
                values[f'loader_{name}_bucket{{{label},le="{bound}"}}'] = count
    return values


def by_version(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each version of each engine: what serves, leaves and has ended counts together."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["name"], row["version"])
        if key in merged:
            _add(merged[key], row)
        else:
            merged[key] = copy.deepcopy(row)
    return list(merged.values())


def _add(total: dict[str, Any], row: Mapping[str, Any]) -> None:
    for part in ("counters", "closed"):
        for name, value in row[part].items():
            total[part][name] = total[part].get(name, 0) + value
    for name, histogram in row["histograms"].items():
        known = total["histograms"].setdefault(name, {**histogram, "buckets": [], "sum": 0.0})
        buckets = known["buckets"] or [0] * len(histogram["buckets"])
        known["buckets"] = [a + b for a, b in zip(buckets, histogram["buckets"], strict=True)]
        known["sum"] += histogram["sum"]


def _help(name: str) -> str:
    # A counter that the table does not have yet is shown all the same; a test asks for its row.
    known = METRICS.get(name) or SUPERVISOR_METRICS.get(name)
    return known.text if known else name.replace("_", " ").capitalize() + "."


def _is_gauge(name: str) -> bool:
    return name in METRICS and METRICS[name].kind is Kind.GAUGE


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(f"loader_{name}", _help(name), value=value)


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

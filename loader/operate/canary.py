"""What decides over a canary: counts of a version from its loaders, and the conditions on which it is given up.

Pure values; refuses to know how counts are fetched and weights are set.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from loader.config.schema import YEAR_S
from loader.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Ends that say nothing against a version: it was done, the client ended it, or an operator did.
GOOD_ENDS = frozenset(
    ("finished", "client_cancel", "client_gone", "idle_timeout", "drain", "replaced", "kicked", "protocol")
)
METRICS = ("error_rate", "host_died", "first_result_p99")
CONDITION = re.compile(
    r"^(?P<metric>[a-z0-9_]+)\s*(?P<operator>>=?)\s*(?P<value>[0-9.]+)\s*(?P<unit>%|ms|s)?$"
)
UNITS: dict[str, dict[str | None, float]] = {"error_rate": {"%": 0.01, None: 1.0}, "host_died": {None: 1.0},
         "first_result_p99": {"ms": 0.001, "s": 1.0, None: 0.001}}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted of one version in one loader, or in all of them."""

    closed: Mapping[str, int] = field(default_factory=dict)  # by reason
    deaths: int = 0  # restarts of its instances
    first_results: Mapping[float, int] = field(default_factory=dict)  # upper bound in s → so many up to it
    open_sessions: int = 0

    @property
    def ended(self) -> int:
        """Sessions and calls that have ended."""
        return sum(self.closed.values())

    @property
    def failed(self) -> int:
        """Those of them that should have ended otherwise."""
        return sum(count for reason, count in self.closed.items() if reason not in GOOD_ENDS)

    def since(self, before: Counts) -> Counts:
        """What came after `before`; counts that went back began anew: their loader or version was started again."""
        is_new = any(self.closed.get(reason, 0) < count for reason, count in before.closed.items())
        if is_new or self.deaths < before.deaths:
            return self
        return Counts(
            {reason: count - before.closed.get(reason, 0) for reason, count in self.closed.items()},
            self.deaths - before.deaths,
            {
                bound: count - before.first_results.get(bound, 0)
                for bound, count in self.first_results.items()
            },
            self.open_sessions,
        )

    def plus(self, later: Counts) -> Counts:
        """Both counts, and what is open later."""
        return replace(summed((self, later)), open_sessions=later.open_sessions)

    def value(self, metric: str) -> float:
        """A metric of conditions; NaN: nothing to say yet."""
        if metric == "error_rate":
            return self.failed / self.ended if self.ended else math.nan
        if metric == "host_died":
            return float(max(self.deaths, self.closed.get("host_died", 0)))
        return percentile(self.first_results, 0.99)


def summed(counts: Iterable[Counts]) -> Counts:
    """Several loaders as one."""
    closed: dict[str, int] = {}
    results: dict[float, int] = {}
    deaths = open_sessions = 0
    for one in counts:
        for reason, count in one.closed.items():
            closed[reason] = closed.get(reason, 0) + count
        for bound, count in one.first_results.items():
            results[bound] = results.get(bound, 0) + count
        deaths += one.deaths
        open_sessions += one.open_sessions
    return Counts(closed, deaths, results, open_sessions)


def percentile(cumulative: Mapping[float, int], share: float) -> float:
    """The upper bound of the bucket in which the percentile lies; NaN for an empty histogram."""
    total = max(cumulative.values(), default=0)
    if total == 0:
        return math.nan
    return min(bound for bound, count in cumulative.items() if count >= share * total)


@dataclass(frozen=True, slots=True)
class Condition:
    """On which a canary is given up."""

    text: str
    metric: str
    is_reached_too: bool  # >=
    limit: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """`error_rate>1%`. Raises: InvalidArgumentError."""
        match = CONDITION.match(text.strip())
        if match is None or match["metric"] not in METRICS:
            raise InvalidArgumentError(
                f"--abort-on {text}: write METRIC>VALUE with one of {', '.join(METRICS)}, as in `error_rate>1%`"
            )
        units = UNITS[match["metric"]]
        try:
            limit = float(match["value"]) * units[match["unit"]]
        except (ValueError, KeyError):
            known = ", ".join(unit for unit in units if unit) or "none"
            raise InvalidArgumentError(
                f"--abort-on {text}: {match['value']}{match['unit'] or ''} is no value here; units: {known}"
            ) from None
        return cls(text.strip(), match["metric"], match["operator"] == ">=", limit)

    def is_met(self, counts: Counts, least_ended: int) -> bool:
        """A share and a percentile want `least_ended` ends: one of one would be 100 %."""
        if self.metric != "host_died" and counts.ended < max(1, least_ended):
            return False
        value = counts.value(self.metric)
        return value > self.limit or (self.is_reached_too and value >= self.limit)

    def said(self, counts: Counts) -> str:
        """The condition and what was seen."""
        value = counts.value(self.metric)
        shown = {
            "error_rate": f"{counts.failed} of {counts.ended} ended in an error ({value:.1%})",
            "host_died": f"{value:.0f} deaths",
            "first_result_p99": f"{value * 1_000:.0f} ms",
        }[self.metric]
        reasons = ", ".join(
            f"{reason} {count}"
            for reason, count in counts.closed.items()
            if count and reason not in GOOD_ENDS
        )
        return f"{self.text}: {shown}" + (f": {reasons}" if reasons else "")


def parse_steps(text: str) -> tuple[float, ...]:
    """`5,25,100` as percents, rising, ending at 100. Raises: InvalidArgumentError."""
    try:
        steps = tuple(float(part) for part in text.split(","))
    except ValueError:
        steps = ()
    is_rising = all(a < b for a, b in itertools.pairwise((0.0, *steps)))  # NaN is on neither side
    if not steps or not is_rising or steps[-1] > 100:
        raise InvalidArgumentError(f"--steps {text}: write rising percents over 0 up to 100, as in 5,25,100")
    return steps


def parse_seconds(text: str, option: str) -> float:
    """`60s`, `500ms`, `5m` or plain seconds. Raises: InvalidArgumentError."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(ms|s|m|h)?", text.strip())
    if match is None:
        raise InvalidArgumentError(f"{option} {text}: write a time such as 60s, 500ms or 5m")
    seconds = float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, None: 1.0}[match[2]]
    if seconds > YEAR_S:
        raise InvalidArgumentError(f"{option} {text}: is more than a year: write less")
    return seconds

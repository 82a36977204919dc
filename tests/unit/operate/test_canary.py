"""What decides over a canary: counts that begin anew, conditions, and the steps."""

from __future__ import annotations

import math

import pytest

from loader.errors import InvalidArgumentError
from loader.operate.canary import Condition, Counts, parse_seconds, parse_steps, percentile, summed


def test_counts_since_are_differences() -> None:
    """By reason."""
    before = Counts({"finished": 10, "engine_error": 1}, 1)
    now = Counts({"finished": 15, "engine_error": 1, "host_died": 2}, 2, open_sessions=3)
    found = now.since(before)
    assert (found.closed, found.deaths, found.open_sessions) == (
        {"finished": 5, "engine_error": 0, "host_died": 2},
        1,
        3,
    )
    assert (found.ended, found.failed) == (7, 2)


def test_counts_that_went_back_began_anew() -> None:
    """A loader was started again: everything that it counts is new."""
    assert Counts({"finished": 3}).since(Counts({"finished": 10})).ended == 3


def test_what_clients_and_operators_end_is_no_error() -> None:
    """A canary is not given up for it."""
    good = (
        "finished",
        "client_cancel",
        "client_gone",
        "idle_timeout",
        "drain",
        "replaced",
        "kicked",
        "protocol",
    )
    bad = ("engine_error", "host_died", "call_hung", "deadline", "create_failed", "admission", "refused")
    counts = Counts(dict.fromkeys((*good, *bad), 1))
    assert (counts.ended, counts.failed) == (len(good) + len(bad), len(bad))


@pytest.mark.parametrize(
    ("text", "counts", "is_met"),
    [
        ("error_rate>1%", Counts({"finished": 99, "engine_error": 1}), False),
        ("error_rate>1%", Counts({"finished": 98, "engine_error": 2}), True),
        ("error_rate>=1%", Counts({"finished": 99, "engine_error": 1}), True),
        ("error_rate>0.01", Counts({"finished": 98, "engine_error": 2}), True),
        ("error_rate > 1 %", Counts({"engine_error": 9}), False),  # too few
        ("error_rate>1%", Counts(), False),
        ("host_died>0", Counts(deaths=1), True),
        ("host_died>0", Counts({"host_died": 1}), True),
        ("host_died>0", Counts({"finished": 100}), False),
        ("first_result_p99>500ms", Counts({"finished": 100}, 0, {0.5: 99, 1.0: 100}), False),
        ("first_result_p99>500ms", Counts({"finished": 100}, 0, {0.5: 98, 1.0: 100}), True),
        ("first_result_p99>0.5s", Counts({"finished": 100}, 0, {0.5: 98, math.inf: 100}), True),
        ("first_result_p99>500", Counts({"finished": 100}), False),
    ],
)
def test_a_condition_is_met_or_not(text: str, counts: Counts, is_met: bool) -> None:
    """A share and a percentile need ten ends here; a death needs none."""
    assert Condition.parse(text).is_met(counts, 10) is is_met


@pytest.mark.parametrize(
    "text",
    ["", "error_rate", "errors>1%", "error_rate<1%", "error_rate>x", "error_rate>1ms", "host_died>1.2.3"],
)
def test_a_condition_that_is_none_is_refused(text: str) -> None:
    """With what to write."""
    with pytest.raises(InvalidArgumentError, match="--abort-on"):
        Condition.parse(text)


def test_a_condition_says_what_was_seen() -> None:
    """The numbers, and the reasons of the errors."""
    said = Condition.parse("error_rate>1%").said(Counts({"finished": 15, "engine_error": 5}))
    assert said == "error_rate>1%: 5 of 20 ended in an error (25.0%): engine_error 5"


def test_percentile_is_the_bound_of_its_bucket() -> None:
    """And nothing without counts."""
    assert percentile({0.1: 50, 0.2: 99, math.inf: 100}, 0.99) == 0.2
    assert math.isnan(percentile({}, 0.99))


def test_several_loaders_are_summed() -> None:
    """By reason."""
    total = summed(
        [Counts({"finished": 1}, 1, {0.1: 1}, 2), Counts({"finished": 2, "drain": 1}, 0, {0.1: 3}, 1)]
    )
    assert total == Counts({"finished": 3, "drain": 1}, 1, {0.1: 4}, 3)


def test_steps_rise_to_a_hundred_at_most() -> None:
    """Fractions are steps, too."""
    assert parse_steps("0.5,5,25,100") == (0.5, 5.0, 25.0, 100.0)
    for text in ("", "0,5", "5,5", "25,5", "5,101", "5;25", "x"):
        with pytest.raises(InvalidArgumentError, match="--steps"):
            parse_steps(text)


def test_times_have_units() -> None:
    """Seconds without one."""
    assert [parse_seconds(text, "-") for text in ("60s", "500ms", "5m", "2", "0.5", "1h")] == [
        60,
        0.5,
        300,
        2,
        0.5,
        3600,
    ]
    with pytest.raises(InvalidArgumentError, match="--interval"):
        parse_seconds("soon", "--interval")

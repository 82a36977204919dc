"""Restarts: exponential waits, and an intensity above which an instance is given up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loader.config.schema import RestartConfig
from loader.engine.restart import RestartBudget


def test_waits_double_up_to_the_longest() -> None:
    """Each further death doubles the wait, to backoff_max_s."""
    budget = RestartBudget()
    config = RestartConfig(backoff_s=1, backoff_max_s=5, intensity=10, period_s=100)
    assert [budget.next_delay_s(config, now) for now in range(5)] == [1, 2, 4, 5, 5]


def test_beyond_the_intensity_it_is_given_up() -> None:
    """The death after `intensity` restarts within the period is the last."""
    budget = RestartBudget()
    config = RestartConfig(intensity=2, period_s=100)
    assert budget.next_delay_s(config, 0) is not None
    assert budget.next_delay_s(config, 1) is not None
    assert budget.next_delay_s(config, 2) is None


def test_old_deaths_are_forgotten() -> None:
    """A death every period_s goes on for ever, with the first wait."""
    budget = RestartBudget()
    config = RestartConfig(backoff_s=1, intensity=1, period_s=10)
    assert [budget.next_delay_s(config, 10.0 * n) for n in range(50)] == [1] * 50


def test_intensity_zero_never_restarts() -> None:
    """0 means: give up at once."""
    assert RestartBudget().next_delay_s(RestartConfig(intensity=0), 0) is None


@given(st.lists(st.floats(0, 1000), max_size=200))
def test_never_more_restarts_than_the_intensity_in_a_period(gaps: list[float]) -> None:
    """Whatever the times of death, no window of period_s holds more than `intensity` restarts."""
    config = RestartConfig(backoff_s=0, intensity=3, period_s=50)
    budget, now, restarts = RestartBudget(), 0.0, []
    for gap in gaps:
        now += gap
        if budget.next_delay_s(config, now) is None:
            break
        restarts.append(now)
    for at in restarts:
        assert sum(at - config.period_s < other <= at for other in restarts) <= config.intensity

"""Counters as names with labels, and histograms as Prometheus counts them."""

from __future__ import annotations

from loader.admin.metrics import _cumulative, _engine_histograms, flat_statistics

ENGINE = {
    "name": "asr",
    "version": "2",
    "counters": {"frames_in": 3},
    "closed": {"finished": 1},
    "histograms": {"queue_wait_seconds": {"bounds": [0.1, 1.0], "buckets": [4, 0, 2], "sum": 9.5}},
}


def test_flat_names_carry_engine_version_and_reason() -> None:
    """GetStatistics has one number a name."""
    taken = {"counters": {"calls": 7}, "refusals": {"DRAINING": 2}, "engines": [ENGINE]}
    assert flat_statistics(taken) == {
        "loader_calls": 7.0,
        'loader_refusals{error="DRAINING"}': 2.0,
        'loader_frames_in{engine="asr",version="2"}': 3.0,
        'loader_sessions_closed{engine="asr",version="2",reason="finished"}': 1.0,
        'loader_queue_wait_seconds_bucket{engine="asr",version="2",le="0.1"}': 4.0,
        'loader_queue_wait_seconds_bucket{engine="asr",version="2",le="1.0"}': 4.0,
        'loader_queue_wait_seconds_bucket{engine="asr",version="2",le="+Inf"}': 6.0,
    }


def test_buckets_are_cumulative_and_end_with_infinity() -> None:
    """Our buckets count their own range; Prometheus wants counts up to a bound."""
    assert _cumulative(ENGINE["histograms"]["queue_wait_seconds"]) == [
        ("0.1", 4.0),
        ("1.0", 4.0),
        ("+Inf", 6.0),
    ]


def test_histograms_have_their_sum_and_count() -> None:
    """The count is that of the last bucket."""
    (family,) = _engine_histograms([ENGINE])
    samples = {sample.name: sample.value for sample in family.samples if not sample.labels.get("le")}
    assert samples == {"loader_queue_wait_seconds_count": 6.0, "loader_queue_wait_seconds_sum": 9.5}

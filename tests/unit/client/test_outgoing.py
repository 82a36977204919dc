"""The hand-over between a session's user and gRPC."""

from __future__ import annotations

from threading import Thread

import pytest

from loader.client.outgoing import Outgoing


def test_requests_leave_in_order_and_end_after_the_last() -> None:
    """What was put before end is still sent."""
    outgoing = Outgoing(0)
    assert all(outgoing.put(i, 1.0) for i in range(1, 5))
    outgoing.end()
    assert list(outgoing) == [0, 1, 2, 3, 4]


def test_a_full_hand_over_waits_and_then_says_so() -> None:
    """Back-pressure reaches the writer, bounded by its own timeout."""
    outgoing = Outgoing(0, capacity=1)
    with pytest.raises(TimeoutError, match="engine is slower"):
        outgoing.put(1, 0.01)
    assert next(outgoing) == 0
    assert outgoing.put(1, 0.01)


def test_closing_wakes_a_writer_that_waits() -> None:
    """A session that ends while its writer waits tells it at once."""
    outgoing = Outgoing(0, capacity=1)
    answers: list[bool] = []
    writer = Thread(target=lambda: answers.append(outgoing.put(1, 30.0)))
    writer.start()
    outgoing.close()
    writer.join(5.0)
    assert answers == [False]
    assert list(outgoing) == []


def test_ten_thousand_requests_pass_between_two_threads() -> None:
    """None is lost, doubled or out of order."""
    outgoing = Outgoing(0, capacity=4)

    def write() -> None:
        for i in range(1, 10_000):
            assert outgoing.put(i, 30.0)
        outgoing.end()

    writer = Thread(target=write)
    writer.start()
    assert list(outgoing) == list(range(10_000))
    writer.join(5.0)

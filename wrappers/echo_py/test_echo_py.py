"""echo_py gives back what it got, in calls and in sessions."""

from __future__ import annotations

from pathlib import Path

from loader.testing import open_wrapper

HERE = Path(__file__).parent


def test_exec_returns_the_request() -> None:
    """One call, one result with the same items."""
    with open_wrapper(HERE) as engine:
        [result] = engine.exec({"data": b"\0\1", "text": "grüße", "json": {"a": [1, None]}})
    assert dict(result) == {"data": b"\0\1", "text": "grüße", "json": {"a": [1, None]}}


def test_session_returns_each_frame_in_order() -> None:
    """Each frame comes back as one result before the next is taken."""
    with open_wrapper(HERE) as engine, engine.session() as session:
        results = [session.write({"n": number}) for number in range(3)]
        assert [[dict(one) for one in result] for result in results] == [[{"n": n}] for n in range(3)]
        assert session.end() == []

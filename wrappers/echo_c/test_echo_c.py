"""echo_c gives back what it got, in calls and in sessions."""

from __future__ import annotations

from pathlib import Path

from abi_driver import Driver


def test_exec_returns_the_request(library: Path) -> None:
    """One call, one result with the same items."""
    with Driver(library) as engine:
        [result] = engine.exec({"data": b"\0\1", "text": b"hello"})
    assert (result["data"], result["text"]) == (b"\0\1", b"hello")


def test_session_returns_each_frame_in_order(library: Path) -> None:
    """Each frame comes back as one result before the next is taken."""
    with Driver(library) as engine, engine.session() as session:
        results = [session.write({"n": b"%d" % number}) for number in range(3)]
    assert [[one["n"] for one in result] for result in results] == [[b"0"], [b"1"], [b"2"]]

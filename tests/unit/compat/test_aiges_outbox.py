"""The order of results, where the host gives credit while a thread of the wrapper waits for it itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from loader.compat.aiges.outbox import MOST_BYTES, MOST_RESULTS, Outbox
from loader.wrapper import Error, Result

LIMIT_S = 10


class Gate:
    """A port without credit until `open`; what an interleaving needs, and the real host decides alone."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.has_credit = threading.Event()
        self.is_emitting = threading.Event()
        self.waiting: list[Callable[[], object]] = []

    def try_emit(self, value: Result) -> bool:
        if self.has_credit.is_set():
            self.sent.append(value.items)
        return self.has_credit.is_set()

    def emit(self, value: Result) -> None:
        self.is_emitting.set()
        assert self.has_credit.wait(LIMIT_S)
        self.sent.append(value.items)

    def on_credit(self, callback: Callable[[], object]) -> None:
        self.waiting.append(callback)

    def finish(self, error: BaseException | None = None) -> None:
        self.sent.append("finished")

    def fail(self, error: BaseException) -> None:
        self.sent.append(error)

    def tell_all(self) -> None:
        while self.waiting:
            self.waiting.pop()()


def filled(port: Any, count: int) -> Outbox:
    outbox = Outbox(port, port.fail)
    for number in range(count):
        assert outbox.post(Result([("n", number)]), 1)
    return outbox


def numbers(count: int) -> list[Any]:
    return [[("n", number)] for number in range(count)]


def test_nothing_overtakes_what_a_thread_is_emitting() -> None:
    """The host's word of credit comes while the wrapper's own thread waits in emit: order holds."""
    port = Gate()
    outbox = filled(port, MOST_RESULTS + 2)
    outbox.finish(None)
    own = threading.Thread(target=outbox.make_room)
    own.start()
    assert port.is_emitting.wait(LIMIT_S)
    (drain,) = port.waiting
    port.waiting.clear()
    port.try_emit = lambda value: bool(port.sent.append(value.items)) or True  # type: ignore[method-assign]
    drain()
    assert port.sent == []
    port.has_credit.set()
    own.join(LIMIT_S)
    port.tell_all()
    assert port.sent == [*numbers(MOST_RESULTS + 2), "finished"]
    assert outbox.is_empty


def test_nothing_overtakes_the_only_one() -> None:
    """A large result that a thread is emitting, and nothing behind it: the next one waits."""
    port = Gate()
    outbox = Outbox(port, port.fail)
    assert outbox.post(Result([("n", 0)]), MOST_BYTES + 1)
    own = threading.Thread(target=outbox.make_room)
    own.start()
    assert port.is_emitting.wait(LIMIT_S)
    port.try_emit = lambda value: bool(port.sent.append(value.items)) or True  # type: ignore[method-assign]
    assert outbox.post(Result([("n", 1)]), 1)
    assert port.sent == []
    port.has_credit.set()
    own.join(LIMIT_S)
    port.tell_all()
    assert port.sent == numbers(2)


def test_a_thread_waits_for_room_until_a_limit() -> None:
    """By number and by bytes; closing lets go of it, and refuses what comes after."""
    port = Gate()
    outbox = filled(port, MOST_RESULTS)
    assert outbox.wait_for_room(0)
    assert outbox.post(Result([]), MOST_BYTES)
    assert not outbox.wait_for_room(0.01)
    outbox.close()
    assert outbox.wait_for_room(0)
    assert not outbox.post(Result([]), 1)


def test_an_error_follows_what_was_posted() -> None:
    """The client gets the results before it, and then that."""
    port = Gate()
    outbox = filled(port, 2)
    failure = Error(10910, "broken;code=1")
    outbox.finish(failure)
    assert port.sent == []
    port.has_credit.set()
    port.tell_all()
    assert port.sent == [*numbers(2), failure]


def test_a_result_that_cannot_be_sent_is_an_error() -> None:
    """One that is refused while it waits ends the session, though nobody waits for its outcome."""
    port = Gate()
    outbox = filled(port, 1)
    refused = ValueError("too large")

    def refuse(value: Result) -> bool:
        raise refused

    port.try_emit = refuse  # type: ignore[method-assign]
    port.tell_all()
    assert port.sent == [refused]
    assert not outbox.post(Result([]), 1)


def test_giving_up_drops_what_waits() -> None:
    """A client that does not read is told at once, not behind what it does not read."""
    port = Gate()
    outbox = filled(port, 2)
    failure = Error(10910, "the client does not read its results;code=-1")
    outbox.give_up(failure)
    assert port.sent == [failure]
    port.has_credit.set()
    port.tell_all()
    assert port.sent == [failure]
    assert not outbox.post(Result([]), 1)

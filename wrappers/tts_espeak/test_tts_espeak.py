"""The synthesizer through its ABI."""

from __future__ import annotations

import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from abi_driver import INVALID_INPUT, CallFailed, Driver, Emitted

SENTENCE = b"Go forward ten meters, then turn around and come back."
END = 3


@pytest.fixture
def engine(library: Path) -> Iterator[Driver]:
    with Driver(library) as driver:
        yield driver


def pcm(results: list[Emitted]) -> bytes:
    return b"".join(r["audio"] for r in results)


def test_speech_comes_in_chunks_and_the_last_one_says_end(engine: Driver) -> None:
    """Several chunks, all with their format; only the last has status end."""
    results = engine.exec({"text": SENTENCE})
    assert len(results) > 10
    assert [r.items[0][2] == END for r in results] == [False] * (len(results) - 1) + [True]
    assert all(r.items[0][3] == {"encoding": "pcm_s16le", "rate": "22050", "channels": "1"} for r in results)


def test_speech_has_the_length_and_loudness_of_speech(engine: Driver) -> None:
    """A sentence of ten words takes seconds and is not silence."""
    samples = array.array("h", pcm(engine.exec({"text": SENTENCE})))
    assert 2 < len(samples) / 22050 < 10
    assert max(samples) > 3000


def test_a_faster_rate_is_shorter(engine: Driver) -> None:
    """Parameters reach the voice, and do not stay for the next call."""
    slow = len(pcm(engine.exec({"text": SENTENCE})))
    fast = len(pcm(engine.exec({"text": SENTENCE}, {"rate_wpm": 350})))
    assert fast < slow * 0.75
    assert len(pcm(engine.exec({"text": SENTENCE}))) == pytest.approx(slow, rel=0.01)


def test_a_cancelled_call_stops_speaking(engine: Driver) -> None:
    """The engine looks at is_cancelled before each chunk."""
    engine.cancel_after = 2
    with pytest.raises(CallFailed):
        engine.exec({"text": SENTENCE})
    assert len(engine.emitted) == 2


@pytest.mark.parametrize(
    ("items", "parameters", "text"),
    [
        ({}, {}, "no text"),
        ({"text": b"hello"}, {"voice": "xx-none"}, 'voice "xx-none" does not exist'),
        ({"text": b"hello"}, {"rate_wpm": 9000}, "rate_wpm is 9000: give 80 to 450"),
    ],
)
def test_bad_input_is_the_clients_error(
    engine: Driver, items: dict[str, bytes], parameters: dict[str, object], text: str
) -> None:
    """The status says who must act, the text what to change."""
    with pytest.raises(CallFailed, match=text) as failed:
        engine.exec(items, parameters)
    assert failed.value.status == INVALID_INPUT


def test_more_than_one_slot_is_refused(library: Path) -> None:
    """One voice per process: the operator is told to raise instances instead."""
    with pytest.raises(CallFailed, match="set slots to 1 and raise instances"), Driver(library, slots=2):
        pass

"""The recogniser through its ABI, on a recording whose words are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from abi_driver import INVALID_INPUT, CallFailed, Driver, Emitted

CHUNK = 3200


@pytest.fixture
def engine(library: Path) -> Iterator[Driver]:
    with Driver(library, slots=2) as driver:
        yield driver


def recognise(engine: Driver, pcm: bytes, size: int = CHUNK, **parameters: object) -> list[Emitted]:
    with engine.session(parameters) as session:
        results = [
            r for at in range(0, len(pcm), size) for r in session.write({"audio": pcm[at : at + size]})
        ]
        return results + session.end()


def test_a_recording_gives_partials_and_the_final_text(engine: Driver, goforward: bytes) -> None:
    """Hypotheses come while audio still does; the last frame holds the whole text."""
    results = recognise(engine, goforward)
    assert results[-1]["text"] == b"go forward ten meters"
    partials = [r["partial"] for r in results if "partial" in r]
    assert partials
    assert partials == [p for i, p in enumerate(partials) if i == 0 or p != partials[i - 1]]


def test_words_have_times_inside_the_recording_and_in_order(engine: Driver, goforward: bytes) -> None:
    """Every word of the text has a span; spans follow each other inside the audio."""
    words = json.loads(recognise(engine, goforward)[-1]["words"])
    assert [w["word"] for w in words] == ["go", "forward", "ten", "meters"]
    edges = [edge for w in words for edge in (w["start_s"], w["end_s"])]
    assert edges == sorted(edges)
    assert edges[0] >= 0
    assert edges[-1] <= len(goforward) / 32000 + 0.05


def test_the_size_of_the_pieces_does_not_change_the_words(engine: Driver, goforward: bytes) -> None:
    """A client may cut anywhere, inside a sample too."""
    assert recognise(engine, goforward, 4097)[-1]["text"] == b"go forward ten meters"


def test_the_same_audio_again_gives_the_same_result(engine: Driver, goforward: bytes) -> None:
    """A decoder that another session used before remembers nothing of it."""
    first, second = recognise(engine, goforward), recognise(engine, goforward)
    assert first[-1]["text"] == second[-1]["text"]


def test_two_sessions_interleave(engine: Driver, goforward: bytes) -> None:
    """Each session has its own decoder."""
    with engine.session() as one, engine.session() as other:
        for at in range(0, len(goforward), CHUNK):
            one.write({"audio": goforward[at : at + CHUNK]})
            other.write({"audio": bytes(CHUNK)})
        assert one.end()[-1]["text"] == b"go forward ten meters"
        assert other.end()[-1]["text"] == b""


def test_partials_can_be_turned_off(engine: Driver, goforward: bytes) -> None:
    """With partials false only segments and the end are emitted."""
    assert not any("partial" in r for r in recognise(engine, goforward, partials=False))


def test_another_sample_rate_is_refused(engine: Driver) -> None:
    """The model hears 16 kHz; the error says what came and what to do."""
    with pytest.raises(CallFailed, match=r"sample_rate is 8000.*resample") as failed:
        engine.session({"sample_rate": 8000})
    assert failed.value.status == INVALID_INPUT


def test_an_unknown_key_is_refused(engine: Driver) -> None:
    """A misspelt key is an error, not silence."""
    with engine.session() as session, pytest.raises(CallFailed, match='"sound" is unknown'):
        session.write({"sound": b"\0\0"})


def test_a_missing_model_fails_init_with_the_path(library: Path) -> None:
    """The operator reads which file and what to install."""
    with (
        pytest.raises(CallFailed, match=r"/nowhere/en-us.*pocketsphinx-en-us"),
        Driver(library, {"model_directory": "/nowhere"}),
    ):
        pass

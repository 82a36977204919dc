"""The detector on real speech, in a host as it is served."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from loader.testing import EngineFailure, TestEngine, open_wrapper

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def wrapper() -> ModuleType:
    """The module, loaded as the host loads it: from its path."""
    path = Path(__file__).with_name("wrapper.py")
    spec = importlib.util.spec_from_file_location("vad_silero_wrapper", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def engine() -> Iterator[TestEngine]:
    """The wrapper in a host, as it is served."""
    with open_wrapper(HERE) as engine:
        yield engine


def segments(results: list[Any]) -> list[dict[str, float]]:
    return [result["segment"] for result in results]


def stream(engine: TestEngine, pcm: bytes, size: int) -> list[dict[str, float]]:
    with engine.session() as session:
        pieces = range(0, len(pcm), size)
        results = [r for at in pieces for r in session.write({"audio": pcm[at : at + size]})]
        return segments(results + session.end())


def test_speech_between_silences_is_one_segment(engine: TestEngine, goforward: bytes) -> None:
    """Two seconds of silence on each side: the segment lies between them."""
    silence = bytes(64000)
    (segment,) = stream(engine, silence + goforward + silence, 3200)
    assert 2.0 < segment["start_s"] < segment["end_s"] < 2.0 + len(goforward) / 32000


def test_silence_has_no_segment(engine: TestEngine) -> None:
    """Nothing is made up."""
    assert stream(engine, bytes(96000), 3200) == []


def test_the_size_of_the_pieces_changes_nothing(engine: TestEngine, goforward: bytes) -> None:
    """A client may cut anywhere, inside a sample too; one call gives the same as a stream."""
    pcm = goforward + bytes(64000) + goforward
    whole = stream(engine, pcm, len(pcm))
    assert whole == stream(engine, pcm, 999)
    assert whole == segments(engine.exec({"audio": pcm}))
    assert len(whole) == 2


def test_sessions_do_not_share_state(engine: TestEngine, goforward: bytes) -> None:
    """Silence in one session does not end the speech of another."""
    with engine.session() as one, engine.session() as other:
        results: list[Any] = []
        for at in range(0, len(goforward), 3200):
            results += one.write({"audio": goforward[at : at + 3200]})
            assert other.write({"audio": bytes(3200)}) == []
        results += one.end()
        assert segments(results) == stream(engine, goforward, 3200)
        assert other.end() == []


def test_a_span_shorter_than_the_minimum_is_dropped(wrapper: ModuleType) -> None:
    """min_speech_s is honoured by the segmenter alone, without a network."""
    segmenter = wrapper.Segmenter(threshold=0.5, min_silence_s=0.1, min_speech_s=0.2)
    found = [segmenter.accept(p) for p in [0.9] * 3 + [0.0] * 10 + [0.9] * 10 + [0.0] * 10]
    (segment,) = [s for s in found if s is not None]
    assert segment.start_s == pytest.approx(13 * wrapper.WINDOW_S)
    assert segment.end_s == pytest.approx(23 * wrapper.WINDOW_S)


def test_an_empty_request_is_rejected(engine: TestEngine) -> None:
    """The client reads which key to send."""
    with pytest.raises(EngineFailure, match="audio"):
        engine.exec({})


def test_what_it_hears_is_declared(wrapper: ModuleType) -> None:
    """So that the loader refuses audio of another rate: it would be heard at the wrong times."""
    [declared] = wrapper.Vad.describe()["inputs"]
    assert declared["attributes"] == {"encoding": "pcm_s16le", "rate": "16000", "channels": "1"}

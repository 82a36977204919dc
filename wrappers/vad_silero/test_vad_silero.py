"""The detector on real speech, without a host: the frames are plain stand-ins for the host's views."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

DEFAULTS = {"threshold": 0.5, "min_silence_ms": 300, "min_speech_ms": 200}


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
def engine(wrapper: ModuleType) -> Any:
    engine = wrapper.Vad()
    engine.init({})
    return engine


def frame(pcm: bytes) -> Any:
    return SimpleNamespace(items=(pcm,))


def stream(engine: Any, pcm: bytes, size: int, **parameters: object) -> list[dict[str, float]]:
    session = engine.create(SimpleNamespace(parameters=DEFAULTS | parameters))
    results = [r for at in range(0, len(pcm), size) for r in session.write(frame(pcm[at : at + size]))]
    results += session.end()
    return [r["segment"] for r in results]


def test_speech_between_silences_is_one_segment(engine: Any, goforward: bytes) -> None:
    """Two seconds of silence on each side: the segment lies between them."""
    silence = bytes(64000)
    (segment,) = stream(engine, silence + goforward + silence, 3200)
    assert 2.0 < segment["start_s"] < segment["end_s"] < 2.0 + len(goforward) / 32000


def test_silence_has_no_segment(engine: Any) -> None:
    """Nothing is made up."""
    assert stream(engine, bytes(96000), 3200) == []


def test_the_size_of_the_pieces_changes_nothing(engine: Any, goforward: bytes) -> None:
    """A client may cut anywhere, inside a sample too; one call gives the same as a stream."""
    pcm = goforward + bytes(64000) + goforward
    whole = stream(engine, pcm, len(pcm))
    assert whole == stream(engine, pcm, 999)
    request = SimpleNamespace(items=(pcm,), parameters=DEFAULTS)
    assert whole == [r["segment"] for r in engine.exec(request)]
    assert len(whole) == 2


def test_sessions_do_not_share_state(engine: Any, goforward: bytes) -> None:
    """Silence in one session does not end the speech of another."""
    one = engine.create(SimpleNamespace(parameters=DEFAULTS))
    other = engine.create(SimpleNamespace(parameters=DEFAULTS))
    results: list[Any] = []
    for at in range(0, len(goforward), 3200):
        results += one.write(frame(goforward[at : at + 3200]))
        assert list(other.write(frame(bytes(3200)))) == []
    results += one.end()
    assert [r["segment"] for r in results] == stream(engine, goforward, 3200)
    assert list(other.end()) == []


def test_a_span_shorter_than_the_minimum_is_dropped(wrapper: ModuleType) -> None:
    """min_speech_s is honoured by the segmenter alone, without a network."""
    segmenter = wrapper.Segmenter(threshold=0.5, min_silence_s=0.1, min_speech_s=0.2)
    found = [segmenter.accept(p) for p in [0.9] * 3 + [0.0] * 10 + [0.9] * 10 + [0.0] * 10]
    (segment,) = [s for s in found if s is not None]
    assert segment.start_s == pytest.approx(13 * wrapper.WINDOW_S)
    assert segment.end_s == pytest.approx(23 * wrapper.WINDOW_S)


def test_an_empty_request_is_rejected(wrapper: ModuleType, engine: Any) -> None:
    """The client reads which key to send."""
    with pytest.raises(wrapper.Rejected, match="audio"):
        list(engine.exec(SimpleNamespace(items=(), parameters=DEFAULTS)))

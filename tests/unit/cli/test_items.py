"""Options of `loader call` as values, and results as lines and files."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import pytest

from loader.cli.items import (
    AudioFile,
    Saver,
    parse_item,
    parse_parameter,
    read_audio,
    result_line,
)
from loader.client.values import Result, ResultItem
from loader.errors import InvalidArgumentError


def test_items_are_text_or_json() -> None:
    """`=` gives text, `:=` gives JSON; the text may hold further signs of equality."""
    assert parse_item("text=a=b") == ("text", "a=b")
    assert parse_item('config:={"a": [1]}') == ("config", {"a": [1]})


@pytest.mark.parametrize("text", ["text", "=x", "n:=[1"])
def test_bad_items_are_refused(text: str) -> None:
    """The option and what was seen are named."""
    with pytest.raises(InvalidArgumentError, match="--item"):
        parse_item(text)


def test_parameters_are_json_where_they_can_be() -> None:
    """Numbers and booleans need no quotes; words are text."""
    assert [parse_parameter(f"p={v}")[1] for v in ("3", "true", "en", '"3"')] == [3, True, "en", "3"]


def test_audio_is_cut_into_pieces_with_their_place() -> None:
    """Nothing is lost, and each piece says whether it begins, continues or ends."""
    data = bytes(range(256)) * 25  # 6,400 bytes: 200 ms at 16 kHz
    frames = list(AudioFile("audio", data, 16_000, 1).frames(64, is_realtime=False))
    pieces = [frame["audio"] for frame in frames]
    assert b"".join(piece.value for piece in pieces) == data  # type: ignore[attr-defined]
    assert [piece.status for piece in pieces] == ["begin", "continue", "continue", "end"]  # type: ignore[attr-defined]


def test_a_wav_keeps_its_rate(tmp_path: Path) -> None:
    """The header's rate and channels become attributes."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(b"\x01\x02\x03\x04")
    assert read_audio(f"audio={path}") == AudioFile("audio", b"\x01\x02\x03\x04", 8_000, 2)


def test_a_raw_file_is_16_khz_mono(tmp_path: Path) -> None:
    """A file without a header is what the recordings of speech engines are."""
    path = tmp_path / "a.raw"
    path.write_bytes(b"\x01\x02")
    assert read_audio(f"audio={path}") == AudioFile("audio", b"\x01\x02", 16_000, 1)


def result(*items: ResultItem) -> Result:
    return Result(1, items)


def test_results_are_json_lines() -> None:
    """Text and JSON as they are, bytes by number; a repeated key becomes a list."""
    line = result_line(
        result(
            ResultItem("text", "text", "", "grüße".encode()),
            ResultItem("n", "json", "", b"[1]"),
            ResultItem("blob", "bytes", "", b"\x00\x01"),
            ResultItem("text", "text", "", b"b"),
        )
    )
    assert json.loads(line) == {
        "text": ["grüße", "b"],
        "n": [1],
        "blob": {"type": "bytes", "bytes": 2, "begins": "0001"},
    }


def test_saved_audio_is_a_wav_with_the_engines_rate(tmp_path: Path) -> None:
    """Chunks are joined; rate and channels come from the attributes."""
    saver = Saver(f"audio={tmp_path / 'out.wav'}")
    for data in (b"\x01\x02", b"\x03\x04"):
        saver.take(result(ResultItem("audio", "audio", "", data, {"rate": "22050", "channels": "1"})))
    saver.write()
    with wave.open(str(tmp_path / "out.wav"), "rb") as file:
        assert (file.getframerate(), file.readframes(9)) == (22050, b"\x01\x02\x03\x04")

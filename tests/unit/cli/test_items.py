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


@pytest.mark.parametrize("text", ["k:=NaN", "k:=[Infinity]", "k:={", "k:=" + "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    """Numbers that only Python knows, and nesting without end, as much as a slip."""
    with pytest.raises(InvalidArgumentError, match="not JSON"):
        parse_item(text)


def test_a_parameter_that_only_python_reads_is_text() -> None:
    """As every value that is no JSON."""
    assert parse_parameter("x=NaN") == ("x", "NaN")


def test_bytes_that_are_no_text_are_refused() -> None:
    """A shell passes any bytes; --file is the way for them."""
    with pytest.raises(
        InvalidArgumentError, match="--item: not UTF-8 text at character 2: send bytes by --file"
    ):
        parse_item(b"k=\xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("size", [4, 8, 12, 20, 30])
def test_a_wav_that_is_cut_is_refused(tmp_path: Path, size: int) -> None:
    """Anywhere inside its header."""
    whole = tmp_path / "whole.wav"
    with wave.open(str(whole), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(100))
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[:size])
    with pytest.raises(InvalidArgumentError, match="not a WAV file"):
        read_audio(f"audio={cut}")


def test_a_place_that_cannot_be_saved_to_is_refused_before_the_call(tmp_path: Path) -> None:
    """A missing folder, and a folder in place of a file."""
    for path in (tmp_path / "missing" / "a.wav", tmp_path):
        with pytest.raises(InvalidArgumentError, match="no file can be written there"):
            Saver(f"audio={path}")


def test_a_text_that_is_no_text_is_shown_as_bytes() -> None:
    """An engine's mistake does not end the command."""
    item = ResultItem("text", "text", "", b"\xff")
    assert json.loads(result_line(Result(0, (item,)))) == {
        "text": {"type": "text", "bytes": 1, "begins": "ff"}
    }

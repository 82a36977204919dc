"""`--item`, `--file`, `--audio` and `--param` as values, and results as lines and files. Knows no RPC."""

from __future__ import annotations

import json
import os
import struct
import time
import wave
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.errors import InvalidArgumentError
from loader.wrapper import Item

if TYPE_CHECKING:
    from loader.client import Result, ResultItem

RAW_RATE = 16_000  # what a file without a header is taken for: 16-bit mono PCM
SHOWN_BYTES = 16


def split_pair(text: str, option: str) -> tuple[str, str]:
    """`key=value`. Raises: InvalidArgumentError."""
    check_text(text, option)
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidArgumentError(f"{option} {text}: write {option} key=value")
    return key, value


def check_text(text: str, option: str) -> None:
    """Raises: InvalidArgumentError for an argument that is not text: a shell passes any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{option}: not UTF-8 text at character {error.start}: send bytes by --file key=path"
        ) from None


def parse_item(text: str) -> tuple[str, object]:
    """`key=text`, or `key:=json`."""
    key, value = split_pair(text, "--item")
    if key.endswith(":"):
        return key[:-1], parse_json(value, f"--item {text}")
    return key, value


def parse_parameter(text: str) -> tuple[str, object]:
    """`name=value`: the value is JSON where it can be read as such, else text."""
    name, value = split_pair(text, "--param")
    try:
        return name, json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return name, value


def parse_json(text: str, where: str) -> object:
    """A JSON value. Raises: InvalidArgumentError."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"{where}: not JSON: {error}") from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def read_file(text: str) -> tuple[str, bytes]:
    """`key=path`: the file's bytes."""
    key, path = split_pair(text, "--file")
    try:
        return key, Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"--file {path}: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class AudioFile:
    """16-bit PCM and what its header says."""

    key: str
    data: bytes
    rate: int
    channels: int

    def item(self, data: bytes, status: str) -> Item:
        """A piece of it."""
        attributes = {"encoding": "pcm_s16le", "rate": str(self.rate), "channels": str(self.channels)}
        return Item(data, type="audio", status=status, attributes=attributes)

    def frames(self, chunk_ms: int, *, is_realtime: bool) -> Iterator[dict[str, object]]:
        """Pieces of `chunk_ms`, at the pace of the recording where asked for."""
        size = max(1, self.rate * chunk_ms // 1000) * 2 * self.channels
        started = time.monotonic()
        last = max(0, (len(self.data) - 1) // size)
        for number in range(last + 1):
            if is_realtime:
                # A recording's pace is a clock, not an event to wait for.
                time.sleep(max(0.0, started + number * chunk_ms / 1000 - time.monotonic()))
            yield {self.key: self.item(self.data[number * size : (number + 1) * size], _status(number, last))}


def _status(number: int, last: int) -> str:
    if last == 0:
        return "once"
    return {0: "begin", last: "end"}.get(number, "continue")


def read_audio(text: str) -> AudioFile:
    """`key=file.wav`, or a file of raw 16-bit mono PCM at 16 kHz. Raises: InvalidArgumentError."""
    key, path = split_pair(text, "--audio")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"--audio {path}: {error.strerror}") from None
    if not data.startswith(b"RIFF"):
        return AudioFile(key, data, RAW_RATE, 1)
    try:
        with wave.open(path, "rb") as file:
            if file.getsampwidth() != 2:
                raise InvalidArgumentError(
                    f"--audio {path}: {file.getsampwidth() * 8}-bit audio: convert it to 16-bit"
                )
            return AudioFile(
                key, file.readframes(file.getnframes()), file.getframerate(), file.getnchannels()
            )
    except (wave.Error, EOFError, struct.error) as error:
        why = str(error) or "it ends inside its header"
        raise InvalidArgumentError(f"--audio {path}: not a WAV file: {why}: give 16-bit PCM") from None


def result_line(result: Result) -> str:
    """A result as one JSON line; bytes as their number and their beginning."""
    shown: dict[str, Any] = {}
    for item in result.items:
        value = _shown(item)
        if item.key in shown:
            value = [*_as_list(shown[item.key]), value]
        shown[item.key] = value
    return json.dumps(shown, ensure_ascii=False)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _shown(item: ResultItem) -> Any:
    if item.type in ("text", "json"):
        with suppress(ValueError):  # not UTF-8, or not JSON: shown as the bytes that it is
            return item.value
    shown: dict[str, Any] = {"type": item.type, "bytes": len(item.data)}
    if item.type == "tensor":
        shown |= {"data_type": item.data_type, "shape": list(item.shape)}
    elif item.data:
        shown["begins"] = item.data[:SHOWN_BYTES].hex()
    return shown | ({"attributes": dict(item.attributes)} if item.attributes else {})


class Saver:
    """`--save key=path`: the payloads of a key, one after the other; audio in a .wav with its header."""

    def __init__(self, text: str) -> None:
        self.key, path = split_pair(text, "--save")
        self.path = Path(path)
        if self.path.is_dir() or not os.access(self.path.parent, os.W_OK | os.X_OK):
            raise InvalidArgumentError(
                f"--save {path}: no file can be written there: give a path in a folder of yours"
            )
        self._data = bytearray()
        self._attributes: dict[str, str] = {}

    def take(self, result: Result) -> None:
        """Keeps what the result has of the key."""
        for item in result.items:
            if item.key == self.key:
                self._data += item.data
                self._attributes.update(item.attributes)

    def write(self) -> None:
        """Writes the file. Raises: InvalidArgumentError."""
        try:
            self._write()
        except OSError as error:
            raise InvalidArgumentError(f"--save {self.path}: {error.strerror}") from None

    def _write(self) -> None:
        if self.path.suffix != ".wav":
            self.path.write_bytes(self._data)
            return
        with wave.open(str(self.path), "wb") as file:
            file.setnchannels(int(self._attributes.get("channels", 1)))
            file.setsampwidth(2)
            file.setframerate(int(self._attributes.get("rate", RAW_RATE)))
            file.writeframes(self._data)

"""Drives a native wrapper through wrapper.h with cffi: no loader, no host, no C++.

What an engine author needs to test a library from pytest. Plays the host for one thread: emits are
collected in order, credit is endless, nothing is cancelled unless the test says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cffi

HEADER = Path(__file__).resolve().parents[2] / "cpp/include/loader/wrapper.h"
OK, CLOSED, INVALID_INPUT = 0, -3, -7
ERROR_CAPACITY = 4096
OFFSET_OF_1_1 = 96  # where loader_host_t ended before minor 1


def declarations() -> str:
    """The declarations of wrapper.h without what cffi does not read."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    text = text[text.index("typedef int32_t loader_status_t;") : text.index("#if defined(_WIN32)")]
    text = re.sub(r"(\d+)u\b", r"\1", text)
    return text + "const loader_wrapper_t* loader_wrapper(void);"


@dataclass(frozen=True, slots=True)
class Emitted:
    """One result: its items as (key, bytes, status, attributes) and its position."""

    items: tuple[tuple[str, bytes, int, dict[str, str]], ...]
    position: int

    def __getitem__(self, key: str) -> bytes:
        return next(data for name, data, _, _ in self.items if name == key)

    def __contains__(self, key: str) -> bool:
        return any(name == key for name, _, _, _ in self.items)


class CallFailed(Exception):  # noqa: N818  it reads as what happened
    """An entry returned an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status = status
        self.text = text


@dataclass
class Driver:
    """One initialised wrapper. Use as a context manager: fini runs at the end."""

    library: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    slots: int = 1
    abi_minor: int = 1  # of the host that it plays

    def __enter__(self) -> Driver:
        self.ffi = cffi.FFI()
        self.ffi.cdef(declarations())
        self.lib = self.ffi.dlopen(str(self.library))
        self.table = self.lib.loader_wrapper()
        self.emitted: list[Emitted] = []
        self.failures: list[CallFailed] = []  # of sessions, by the engine itself
        self.cancel_after: int | None = None
        self._keep: list[Any] = []
        self._results: dict[int, Any] = {}
        self._init()
        return self

    def __exit__(self, *_: object) -> None:
        self.table.fini(self.instance)
        assert not self._results, f"{len(self._results)} result buffers were never given back"

    def describe(self) -> Any:
        """The wrapper's declarations."""
        return json.loads(self.ffi.string(self.table.describe()))

    def exec(self, items: Mapping[str, bytes], parameters: Mapping[str, Any] | None = None) -> list[Emitted]:
        """One call: what it emitted. Raises: CallFailed."""
        self.emitted.clear()
        opening, frame = self._open(parameters or {}), self._frame(items)
        self._call(lambda error: self.table.exec(self.instance, 7, opening, frame, error))
        return list(self.emitted)

    def session(self, parameters: Mapping[str, Any] | None = None) -> Session:
        """Opens a session. Raises: CallFailed."""
        self.emitted.clear()
        out = self.ffi.new("void**")
        opening = self._open(parameters or {})
        self._call(lambda error: self.table.create(self.instance, 9, opening, out, error))
        return Session(self, out[0])

    def _init(self) -> None:
        config = self._new("loader_config_t*")
        config.struct_size = self.ffi.sizeof("loader_config_t")
        config.engine, config.version = self._text("test"), self._text("1")
        config.directory = self._text(str(self.library.parent))
        config.json = self._text(json.dumps(dict(self.config)))
        config.slots = config.threads = self.slots
        out = self.ffi.new("void**")
        self.host = self._host()
        self._call(lambda error: self.table.init(self.host, config, out, error))
        self.instance = out[0]

    def _host(self) -> Any:
        host = self._new("loader_host_t*")
        host.abi_major, host.abi_minor = 1, self.abi_minor
        host.struct_size = self.ffi.sizeof("loader_host_t") if self.abi_minor else OFFSET_OF_1_1
        members = {
            "emit": self._emit,
            "alloc_result": self._alloc_result,
            "log": lambda *_: None,
            "is_cancelled": self._is_cancelled,
            "deadline": lambda *_: 2**63 - 1,
            "fail": self._fail,
        }
        for name, function in members.items():
            kind = self.ffi.typeof(getattr(host, name))
            setattr(host, name, self._kept(self.ffi.callback(kind, function)))
        return host

    def _is_cancelled(self, _host: Any, _handle: int) -> int:
        return int(self.cancel_after is not None and len(self.emitted) >= self.cancel_after)

    def _emit(self, _host: Any, _handle: int, frame: Any, _flags: int) -> int:
        items = []
        for i in range(frame.item_count):
            item = frame.items[i]
            attributes = {
                self._read(pair.key): self._read(pair.value)
                for pair in (item.attributes[n] for n in range(item.attribute_count))
            }
            data = bytes(self.ffi.buffer(item.data.data, item.data.size)) if item.data.size else b""
            items.append((self._read(item.key), data, item.status, attributes))
            if item.data.release:
                item.data.release(self.ffi.addressof(item, "data"))
        self.emitted.append(Emitted(tuple(items), frame.position))
        return OK

    def _fail(self, _host: Any, _handle: int, status: int, message: Any, size: int) -> int:
        text = bytes(self.ffi.buffer(message, size)).decode() if size else ""
        self.failures.append(CallFailed(status, text))
        return OK

    def _alloc_result(self, _host: Any, _handle: int, size: int, out: Any, writable: Any) -> int:
        memory = self.ffi.new("uint8_t[]", size or 1)
        key = int(self.ffi.cast("uintptr_t", memory))
        self._results[key] = memory
        out.data, out.size = memory, size
        out.private_data = self.ffi.cast("void*", key)
        out.release = self._releaser()
        writable[0] = memory
        return OK

    def _releaser(self) -> Any:
        if not hasattr(self, "_release"):
            self._release = self.ffi.callback("void(loader_buffer_t*)", self._give_back)
        return self._release

    def _give_back(self, buffer: Any) -> None:
        del self._results[int(self.ffi.cast("uintptr_t", buffer.private_data))]
        buffer.release = self.ffi.NULL

    def _call(self, entry: Any) -> None:
        error = self.ffi.new("loader_error_t*")
        message = self.ffi.new("char[]", ERROR_CAPACITY)
        error.struct_size, error.capacity = self.ffi.sizeof("loader_error_t"), ERROR_CAPACITY
        error.message = message
        status = entry(error)
        if status != OK:
            raise CallFailed(status, bytes(self.ffi.buffer(message, error.size)).decode())

    def _open(self, parameters: Mapping[str, Any]) -> Any:
        opening = self._new("loader_open_t*")
        opening.struct_size = self.ffi.sizeof("loader_open_t")
        pairs = self._new("loader_pair_t[]", len(parameters) or 1)
        for pair, (key, value) in zip(pairs, parameters.items(), strict=False):
            pair.key, pair.value = self._text(key), self._text(json.dumps(value))
        opening.parameters, opening.parameter_count = pairs, len(parameters)
        opening.session_id = self._text("test")
        return opening

    def _frame(self, items: Mapping[str, bytes] | Sequence[tuple[str, bytes]]) -> Any:
        pairs = list(items.items() if isinstance(items, Mapping) else items)
        array = self._new("loader_item_t[]", len(pairs) or 1)
        for item, (key, data) in zip(array, pairs, strict=False):
            memory = self._kept(self.ffi.new("uint8_t[]", data or b"\0"))
            item.key, item.type = self._text(key), 1
            item.data.data, item.data.size = memory, len(data)
        frame = self._new("loader_frame_t*")
        frame.struct_size = self.ffi.sizeof("loader_frame_t")
        frame.item_size = self.ffi.sizeof("loader_item_t")
        frame.item_count, frame.position, frame.items = len(pairs), -1, array
        return frame

    def _new(self, kind: str, *size: Any) -> Any:
        return self._kept(self.ffi.new(kind, *size))

    def _kept(self, value: Any) -> Any:
        """Keeps what C points to alive as long as the driver: a test is short."""
        self._keep.append(value)
        return value

    def _text(self, text: str) -> Any:
        encoded = text.encode()
        memory = self._kept(self.ffi.new("char[]", encoded))
        return {"data": memory, "size": len(encoded)}

    def _read(self, text: Any) -> str:
        return bytes(self.ffi.buffer(text.data, text.size)).decode()


@dataclass
class Session:
    """One open session; destroyed on leaving the `with`."""

    driver: Driver
    handle: Any

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.driver.table.destroy(self.handle, 1)

    def write(self, items: Mapping[str, bytes]) -> list[Emitted]:
        """What this frame made the engine emit."""
        frame = self.driver._frame(items)
        return self._collect(lambda error: self.driver.table.write(self.handle, 9, frame, error))

    def end(self) -> list[Emitted]:
        """What the end of input made the engine emit."""
        return self._collect(lambda error: self.driver.table.end(self.handle, 9, error))

    def _collect(self, entry: Any) -> list[Emitted]:
        self.driver.emitted.clear()
        self.driver._call(entry)
        return list(self.driver.emitted)

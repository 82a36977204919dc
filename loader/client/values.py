"""Python values to frames and back: bytes, text, JSON, NumPy arrays.

Knows no RPC. NumPy is imported only where an array is met.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from loader.v1 import frame_pb2
from loader.wrapper import Item

Items = Mapping[str, object] | Sequence[tuple[str, object]]

NUMPY_NAMES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}
LOADER_NAMES = {numpy_name: name for name, numpy_name in NUMPY_NAMES.items()}
# bfloat16 has no NumPy type: such a tensor is read as the bits of its elements.
BF16_BITS = "uint16"


@dataclass(frozen=True)
class ResultItem:
    """One item of a result."""

    key: str
    type: str
    status: str
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    data_type: str = ""
    shape: tuple[int, ...] = ()

    @cached_property
    def value(self) -> Any:
        """str for text, the parsed value for JSON, a NumPy array for a tensor, else bytes."""
        if self.type == "text":
            return self.data.decode()
        if self.type == "json":
            return json.loads(self.data)
        return self._array() if self.type == "tensor" else self.data

    def _array(self) -> Any:
        import numpy as np

        name = BF16_BITS if self.data_type == "bf16" else NUMPY_NAMES.get(self.data_type, self.data_type)
        return np.frombuffer(self.data, np.dtype(name).newbyteorder("<")).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Result:
    """One result: `result["text"]` is the value of the first item of that key."""

    seq: int
    items: tuple[ResultItem, ...]
    position: int | None = None
    epoch: int = 0

    def __getitem__(self, key: str) -> Any:
        for item in self.items:
            if item.key == key:
                return item.value
        raise KeyError(f"{key}: this result has {', '.join(self) or 'no items'}")

    def __contains__(self, key: object) -> bool:
        return any(item.key == key for item in self.items)

    def __iter__(self) -> Iterator[str]:
        return (item.key for item in self.items)

    def get(self, key: str, default: Any = None) -> Any:
        """As `result[key]`, or `default`."""
        return next((item.value for item in self.items if item.key == key), default)


def to_frame(items: Items) -> frame_pb2.Frame:
    """One frame of these items. Raises: TypeError for a value that cannot be sent."""
    pairs = items.items() if isinstance(items, Mapping) else items
    return frame_pb2.Frame(items=[to_item(key, value) for key, value in pairs])


def to_item(key: str, value: object) -> frame_pb2.Item:
    """bytes as bytes, str as text, arrays as tensors, everything else as JSON; `Item` says otherwise."""
    item = frame_pb2.Item(key=key)
    given = value if isinstance(value, Item) else None
    _fill(item, value.value if isinstance(value, Item) else value)
    if given is not None:
        if given.type:
            item.type = _number(frame_pb2.ItemType, "ITEM_TYPE_", given.type)
        if given.status:
            item.status = _number(frame_pb2.ItemStatus, "ITEM_STATUS_", given.status)
        item.attributes.update(given.attributes or {})
    return item


def from_frame(frame: frame_pb2.Frame) -> Result:
    """The result that this frame holds."""
    position = frame.position if frame.HasField("position") else None
    return Result(frame.seq, tuple(map(_from_item, frame.items)), position, frame.epoch)


def to_parameters(parameters: Mapping[str, object] | None) -> dict[str, str]:
    """Each value as JSON, as the wire wants it."""
    return {name: json.dumps(value, default=_plain) for name, value in (parameters or {}).items()}


def _fill(item: frame_pb2.Item, value: object) -> None:
    if isinstance(value, bytes | bytearray | memoryview):
        item.data = bytes(value)
    elif isinstance(value, str):
        item.type, item.data = frame_pb2.ITEM_TYPE_TEXT, value.encode()
    elif _is_array(value):
        _fill_tensor(item, value)
    else:
        item.type = frame_pb2.ITEM_TYPE_JSON
        item.data = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain).encode()


def _is_array(value: object) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def _fill_tensor(item: frame_pb2.Item, array: Any) -> None:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    name = LOADER_NAMES.get(array.dtype.name, array.dtype.name)
    item.type = frame_pb2.ITEM_TYPE_TENSOR
    item.data_type = _number(frame_pb2.DataType, "DATA_TYPE_", name)
    item.shape.extend(array.shape)
    item.data = little.tobytes()


def _plain(value: object) -> object:
    """What json cannot encode by itself: NumPy scalars and arrays."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(
        f"a value of type {type(value).__name__} cannot be sent: give bytes, str, a NumPy array or what JSON can hold"
    )


def _number(enum: Any, prefix: str, name: str) -> Any:
    if prefix + name.upper() not in enum.keys():  # noqa: SIM118  protobuf's enum wrapper is no mapping
        known = ", ".join(key.removeprefix(prefix).lower() for key in enum.keys()[1:])
        raise TypeError(f"{name!r} is not known here: give one of {known}")
    return enum.Value(prefix + name.upper())


def _name(enum: Any, prefix: str, number: int) -> str:
    name = enum.Name(number) if number in enum.values() else ""
    return "" if name.endswith("_UNSPECIFIED") else str(name).removeprefix(prefix).lower()


def _from_item(item: frame_pb2.Item) -> ResultItem:
    return ResultItem(
        item.key,
        _name(frame_pb2.ItemType, "ITEM_TYPE_", item.type) or "bytes",
        _name(frame_pb2.ItemStatus, "ITEM_STATUS_", item.status),
        item.data,
        dict(item.attributes),
        _name(frame_pb2.DataType, "DATA_TYPE_", item.data_type),
        tuple(item.shape),
    )

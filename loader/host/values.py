"""Conversions the compiled host leaves to Python: JSON and NumPy arrays.

Refuses to know calls and sessions. NumPy is used where the wrapper uses it, and never imported first
by a result.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loader._host import Port
    from loader.wrapper import ItemView

__all__ = ["decode_json", "emit_async", "encode_json", "plain_value", "tensor_value", "typed_value"]

NUMPY_TYPES = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}


def _plain_json(value: object) -> object:
    """What json cannot encode by itself: NumPy scalars and arrays, sets, dataclasses."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    raise TypeError(
        f"a result of type {type(value).__name__} cannot be sent: "
        "return bytes, str, a NumPy array or what JSON can hold"
    )


encode_json = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain_json
).encode
decode_json = json.loads


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise ImportError(
            f"a tensor was read, and NumPy is not installed for {sys.executable}: "
            "pip install 'engine-loader[numpy]', or read item.data"
        ) from error
    return np


def tensor_value(item: ItemView) -> Any:
    """The tensor as a read-only array over the item's own memory. bf16 comes as uint16 bits."""
    np = _numpy()
    name = item.data_type
    dtype = np.dtype("uint16" if name == "bf16" else NUMPY_TYPES.get(name, name))
    return np.frombuffer(item, dtype).reshape(item.shape)


def typed_value(item: ItemView, dtype: str | None) -> Any:
    """A read-only array over the item's memory: the tensor's own type and shape, or 1-D `dtype`."""
    if dtype is None and item.type == "tensor":
        return tensor_value(item)
    return _numpy().frombuffer(item, dtype or "uint8")


def plain_value(value: Any) -> Any:
    """A NumPy scalar as a Python number; an array contiguous and little-endian, mostly itself."""
    np = sys.modules["numpy"]
    if isinstance(value, np.generic):
        return value.item()
    if value.dtype.byteorder == ">":
        value = value.astype(value.dtype.newbyteorder("<"))
    return value if value.flags.c_contiguous else np.ascontiguousarray(value)


async def emit_async(port: Port, value: object, position: int | None = None) -> None:
    """Emits; while there is no credit, waits without holding up the event loop."""
    loop = asyncio.get_running_loop()
    while not port.try_emit(value, position):
        ready = loop.create_future()

        port.on_credit(partial(loop.call_soon_threadsafe, _resolve, ready))
        await ready


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)

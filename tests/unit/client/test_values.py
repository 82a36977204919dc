"""Values survive the way to the wire and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.client.values import Item, from_frame, to_frame, to_parameters
from loader.v1 import frame_pb2

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.one_of(st.binary(), st.text(), JSON))
def test_a_value_comes_back_as_it_was_sent(value: object) -> None:
    """bytes, text and JSON keep type and content."""
    frame = frame_pb2.Frame.FromString(to_frame({"key": value}).SerializeToString())
    back = from_frame(frame)["key"]
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_an_array_comes_back_with_type_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    """Every element type, scalars and empty arrays included."""
    array = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    back = from_frame(to_frame({"x": array}))["x"]
    assert back.dtype == array.dtype
    assert back.shape == shape
    assert np.array_equal(back, array)


def test_a_strided_big_endian_array_is_sent_row_major_little_endian() -> None:
    """The wire has one layout, whatever the array's own is."""
    array = np.arange(12, dtype=">i4").reshape(3, 4).T[::2]
    item = to_frame({"x": array}).items[0]
    assert item.data == array.astype("<i4").tobytes(order="C")
    assert np.array_equal(from_frame(to_frame({"x": array}))["x"], array)


def test_an_item_states_type_status_and_attributes() -> None:
    """What a plain value cannot say."""
    item = from_frame(
        to_frame({"audio": Item(b"\1\2", type="audio", status="end", attributes={"rate": "8000"})})
    ).items[0]
    assert (item.type, item.status, item.attributes, item.value) == (
        "audio",
        "end",
        {"rate": "8000"},
        b"\1\2",
    )


def test_keys_may_repeat_and_keep_their_order() -> None:
    """A frame is a list: the first of a key is what the name gives."""
    result = from_frame(to_frame([("a", "1"), ("b", "2"), ("a", "3")]))
    assert [(i.key, i.value) for i in result.items] == [("a", "1"), ("b", "2"), ("a", "3")]
    assert result["a"] == "1"
    assert result.get("c", "none") == "none"
    with pytest.raises(KeyError, match="this result has a, b, a"):
        result["c"]


def test_what_json_cannot_hold_is_refused_before_it_is_sent() -> None:
    """The error names the type."""
    with pytest.raises(TypeError, match="object cannot be sent"):
        to_frame({"x": object()})
    with pytest.raises(ValueError, match="JSON"):
        to_frame({"x": float("nan")})
    with pytest.raises(TypeError, match=r"'sound' is not known here: give one of bytes, text"):
        to_frame({"x": Item(b"", type="sound")})


def test_parameters_are_json_values() -> None:
    """Each value by itself, NumPy scalars included."""
    assert to_parameters({"rate": 16000, "voice": "en", "on": True, "f": np.float32(0.5)}) == {
        "rate": "16000",
        "voice": '"en"',
        "on": "true",
        "f": "0.5",
    }
    assert to_parameters(None) == {}

"""What a wrapper returns becomes a frame; what a client sends becomes Python values."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from loader import Audio, Item, Json, Request, Result, Wrapper
from loader.testing import EngineFailure, open_wrapper


def serve(function: Callable[[Request], Any], **attributes: Any) -> Any:
    """A wrapper whose exec is `function`."""
    kind = type("Given", (Wrapper,), {"exec": lambda _self, request: function(request), **attributes})
    return open_wrapper(kind)


def returned(value: Any, **attributes: Any) -> Any:
    """The single result of an exec that returns `value`."""
    with serve(lambda _request: value, **attributes) as engine:
        [frame] = engine.exec({})
    return frame


@pytest.mark.parametrize(
    ("value", "kind", "seen"),
    [
        (b"ab", "bytes", b"ab"),
        (bytearray(b"ab"), "bytes", b"ab"),
        (memoryview(b"abcd")[1:3], "bytes", b"bc"),
        ("grüße", "text", "grüße"),
        ("", "text", ""),
        (3, "json", 3),
        (True, "json", True),
        ([1, {"a": None}], "json", [1, {"a": None}]),
        ({"deep": {"er": 1.5}}, "json", {"deep": {"er": 1.5}}),
        (np.float32(0.5), "json", 0.5),
        ({"n": np.int64(3), "v": np.arange(2)}, "json", {"n": 3, "v": [0, 1]}),
        (None, "json", None),
    ],
)
def test_plain_values_become_items(value: object, kind: str, seen: object) -> None:
    """The type of an item follows from the value."""
    frame = returned({"x": value})
    assert frame.item("x").type == kind
    assert frame["x"] == seen


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64"]
)
def test_arrays_travel_as_tensors(dtype: str) -> None:
    """Element type, shape and values survive both ways."""
    array = np.arange(6).reshape(2, 3).astype(dtype)
    with serve(lambda request: {"t": request["t"]}) as engine:
        [frame] = engine.exec({"t": array})
    assert frame["t"].dtype == array.dtype
    np.testing.assert_array_equal(frame["t"], array)


def test_item_sent_on_keeps_everything() -> None:
    """An input item as a result: type, element type, shape, status and attributes as they came."""
    sent = {
        "t": np.arange(6, dtype="int16").reshape(2, 3),
        "a": Item(b"pcm", type="audio", status="begin", attributes={"rate": "8000"}),
    }
    with serve(lambda request: Result([(item.key, item) for item in request.items])) as engine:
        [frame] = engine.exec(sent)
    np.testing.assert_array_equal(frame["t"], sent["t"])
    item = frame.item("a")
    assert (bytes(item), item.type, item.status, item.attributes) == (
        b"pcm",
        "audio",
        "begin",
        {"rate": "8000"},
    )


def test_strided_and_big_endian_arrays_arrive_as_their_values() -> None:
    """Layout is the loader's business, values are the author's."""
    array = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
    frame = returned({"t": array})
    np.testing.assert_array_equal(frame["t"], array)
    assert frame.item("t").shape == (3, 2)


def test_scalar_tensor_has_no_dimensions() -> None:
    """A 0-d array is a tensor of shape ()."""
    frame = returned({"t": np.array(7, "int32")})
    assert frame.item("t").type == "tensor"
    assert frame.item("t").shape == ()
    assert frame["t"] == 7


def test_declared_output_types_decide() -> None:
    """Bytes under a key declared as audio are audio; text under a key declared as JSON is encoded."""
    outputs = {"audio": Audio(), "words": Json()}
    frame = returned({"audio": np.zeros(2, "<i2"), "words": "hi", "other": b"z"}, outputs=outputs)
    assert [(item.key, item.type) for item in frame.items] == [
        ("audio", "audio"), ("words", "json"), ("other", "bytes"),
    ]  # fmt: skip
    assert frame["audio"] == b"\0\0\0\0"
    assert frame["words"] == "hi"


def test_plain_result_goes_under_the_only_output() -> None:
    """A result that is no dict gets the declared key, or `result`."""
    assert [item.key for item in returned(b"x", outputs={"audio": Audio()}).items] == ["audio"]
    assert [item.key for item in returned("x").items] == ["result"]


def test_item_says_type_status_and_attributes() -> None:
    """Item adds what a plain value cannot say."""
    frame = returned({"a": Item(b"p", type="audio", status="end", attributes={"rate": "8000"})})
    item = frame.item("a")
    assert (item.type, item.status, item.attributes) == ("audio", "end", {"rate": "8000"})


def test_result_repeats_keys() -> None:
    """Items keep their order, keys may repeat; lookup gives the first."""
    frame = returned(Result([("a", "1"), ("b", "2"), ("a", "3")], position=7))
    assert [(item.key, item.value) for item in frame.items] == [("a", "1"), ("b", "2"), ("a", "3")]
    assert frame["a"] == "1"


def test_payload_is_read_without_a_copy_and_outlives_the_call() -> None:
    """A view stays valid for as long as the wrapper holds it, and cannot be written."""
    kept: list[memoryview] = []

    def keep(request: Request) -> None:
        kept.append(request["data"])

    with serve(keep) as engine:
        engine.exec({"data": b"abc" * 1000})
        engine.exec({"data": b"xyz"})
    gc.collect()
    assert bytes(kept[0]) == b"abc" * 1000
    assert kept[0].readonly
    array = np.frombuffer(kept[0], "uint8")
    assert array.ctypes.data == np.frombuffer(kept[0].obj, "uint8").ctypes.data


def test_frame_reads_like_a_mapping() -> None:
    """Containment, get, iteration, length and KeyError as a dict has them."""
    seen: dict[str, Any] = {}

    def look(request: Request) -> None:
        seen["in"] = ("a" in request, "z" in request, "a" in request.frame)
        seen["get"] = (request.get("z"), request.get("z", 5), request.frame.get("a"))
        seen["keys"] = (list(request), len(request), list(request.frame))
        with pytest.raises(KeyError, match="z"):
            request["z"]

    with serve(look) as engine:
        engine.exec({"a": "1", "b": "2"})
    assert seen["in"] == (True, False, True)
    assert seen["get"] == (None, 5, "1")
    assert seen["keys"] == (["a", "b"], 2, ["a", "b"])


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ({"x": object()}, "a result of type object cannot be sent"),
        ({1: b""}, "the key of a result is a int, not a str"),
        ({"x": float("nan")}, "Out of range float values"),
        ({"x": np.array([1j])}, "cannot be sent as a tensor"),
        ({"x": Item(b"", type="sound")}, "item type 'sound' is not known"),
        ({"x": Item(b"", status="late")}, "item status 'late' is not known"),
        ({"x": Item(b"", attributes={"rate": 8})}, "the value of an attribute is a int"),  # type: ignore[dict-item]
        (Result([("a",)]), "pairs"),  # type: ignore[list-item]
        ("\ud800", "surrogates not allowed"),
    ],
)
def test_what_cannot_be_sent_fails_its_call_with_the_reason(bad: object, text: str) -> None:
    """The author reads what was wrong; the next call works."""
    answers = [bad, b"fine"]
    with serve(lambda _request: answers.pop(0)) as engine:
        with pytest.raises(EngineFailure) as failure:
            engine.exec({})
        assert text in failure.value.args[1]
        assert engine.exec({})[0]["result"] == b"fine"

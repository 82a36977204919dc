"""JSON bodies of AIGES, and what of them an engine gets."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.gateway.aiges.errors import BadBodyError
from loader.gateway.aiges.request import Body, frame_of, parameters_of, read, text_of
from loader.gateway.catalog import Served
from loader.wrapper import Item

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=12,
)
MEMBERS = st.sampled_from(["text", "audio", "other", "status", "data_type", "seq", "encoding"])
PART = st.dictionaries(st.text(max_size=3), st.dictionaries(MEMBERS, JSON, max_size=3) | JSON, max_size=3)


def engine(parameters: dict[str, str] | None = None, inputs: dict[str, str] | None = None) -> Served:
    return Served("e", ("/v1/private/e",), parameters or {}, inputs or {}, {})


def items(body: dict[str, Any], served: Served, otherwise: int = 3) -> dict[str, Item]:
    found = {}
    for key, value in frame_of(read(json.dumps(body)), served, otherwise):
        assert isinstance(value, Item)
        found[key] = value
    return found


@given(st.dictionaries(st.sampled_from(["header", "parameter", "payload"]), PART | JSON) | JSON)
def test_any_json_is_a_body_or_an_error_that_says_why(value: Any) -> None:
    """Never anything else."""
    try:
        body = read(json.dumps(value))
    except BadBodyError:
        return
    assert isinstance(body, Body)
    parameters_of(body, engine(), {"sid"}, "s")
    frame_of(body, engine(), 3)


@given(st.text() | st.binary())
def test_any_text_is_a_body_or_an_error(text: str | bytes) -> None:
    """Also bytes that are no text."""
    try:
        read(text)
    except BadBodyError:
        return


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"), (3.0, "3"), (0.1, "0.1"), (1e21, "1" + "0" * 21), (1e-7, "0.0000001"), (True, "true"), ("x", "x"),
        ([1, "ü"], '[1,"ü"]'), (-0.5, "-0.5"), (100.0, "100"),
    ],
)  # fmt: skip
def test_numbers_are_plain_decimals(value: object, text: str) -> None:
    """AIGES writes 3 as 6755399441055744p-51."""
    assert text_of(value) == text


def test_a_number_that_no_number_can_hold_is_refused() -> None:
    """What would be Infinity is JSON to no other reader."""
    with pytest.raises(BadBodyError, match="1e999 is larger than a number can be"):
        read('{"parameter": {"g": {"n": 1e999}}}')


@pytest.mark.parametrize(
    ("declared", "given_", "got"),
    [
        ("integer", "16000", 16000), ("integer", 16000.0, 16000), ("integer", "+1", "+1"), ("integer", "x", "x"),
        ("number", "0.5", 0.5), ("number", "1e3", 1000.0), ("number", "true", "true"), ("number", "NaN", "NaN"),
        ("number", "1e999", "1e999"), ("number", "[" * 100_000, "[" * 100_000),
        ("boolean", "true", True), ("boolean", "1", "1"), ("string", 3, "3"), ("string", True, "true"),
        ("integer", True, True), ("", "3", "3"), ("", 3, 3),
    ],
)  # fmt: skip
def test_a_parameter_has_its_declared_type_where_it_can(declared: str, given_: object, got: object) -> None:
    """Else it is left as it is, for the loader to refuse with its text."""
    body = Body(parameters={"p": given_})
    served = engine({"p": declared} if declared else {})
    made = parameters_of(body, served, (), "s")
    assert (made["p"], type(made["p"])) == (got, type(got))


def test_what_nobody_asked_for_is_passed_only_where_it_is_taken() -> None:
    """The sid and headers; a parameter of the client's own always, so that the loader can refuse it."""
    body = Body(header={"appid": "a", "uid": "u", "sid": "no"}, parameters={"extra": 1, "sid": "no"})
    assert parameters_of(body, engine(), {"appid", "sid"}, "s") == {"extra": 1, "appid": "a", "sid": "s"}
    assert parameters_of(body, engine({"uid": "string"}), {"appid", "uid"}, "s") == {"extra": 1, "uid": "u"}


@pytest.mark.parametrize(
    ("kind", "declared", "got"),
    [
        ("text", "", "text"), ("text", "json", "json"), ("text", "audio", "text"), ("audio", "", "audio"),
        ("other", "", None), ("other", "tensor", None), ("other", "bytes", None),
    ],
)  # fmt: skip
def test_an_item_has_the_type_that_its_payload_says(kind: str, declared: str, got: str | None) -> None:
    """`other` is left open, for the engine's own type."""
    body = {"payload": {"k": {kind: "aGk="}}}
    item = items(body, engine(inputs={"k": declared} if declared else None))["k"]
    assert (item.type, item.value) == (got, b"hi")


def test_the_last_frame_of_a_stream_may_have_no_data_member() -> None:
    """It has the type that is declared, and no bytes."""
    item = items({"payload": {"k": {"status": 2}}}, engine(inputs={"k": "audio"}))["k"]
    assert (item.type, item.value, item.status) == ("audio", b"", "end")


def test_line_ends_in_base64_mean_nothing() -> None:
    """As of MIME encoders."""
    assert items({"payload": {"k": {"text": "aGVs\r\nbG8=\n"}}}, engine())["k"].value == b"hello"


def test_the_status_is_the_datas_or_the_headers_or_the_one_of_the_face() -> None:
    """In this order."""
    payload = {"own": {"text": "", "status": "1"}, "open": {"text": ""}}
    assert {key: one.status for key, one in items({"payload": payload}, engine()).items()} == {
        "own": "continue",
        "open": "once",
    }
    with_header = {"header": {"status": 2}, "payload": payload}
    assert items(with_header, engine())["open"].status == "end"


@pytest.mark.parametrize("place", ["%s", '{"payload": %s}', '{"payload": {"k": {"x": %s}}}'])
@pytest.mark.parametrize("nest", ["[]", ('{"a":', "}")])
def test_what_is_nested_too_deeply_is_a_bad_body(place: str, nest: str | tuple[str, str]) -> None:
    """Wherever it is, and however deep: what was read may still be too deep to be written."""
    for depth in range(900, 1001):
        with suppress(BadBodyError):
            read(place % (nest[0] * depth + ("1" if nest[1] == "}" else "") + nest[1] * depth))

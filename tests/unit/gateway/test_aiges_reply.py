"""Results as AIGES's JSON, and errors in its codes."""

from __future__ import annotations

import base64
import json

import pytest

from loader import errors
from loader.client import ConnectionFailedError, Result, ResultItem
from loader.gateway.aiges.codes import CODES
from loader.gateway.aiges.errors import OUT_OF_REACH, AigesError, told
from loader.gateway.aiges.reply import Contract, once_payload, session_payloads, status_of
from loader.gateway.aiges.request import Expected


def result(*items: ResultItem) -> Result:
    return Result(0, items)


def text(content: str, status: str = "", key: str = "k", **attributes: str) -> ResultItem:
    return ResultItem(key, "text", status, content.encode(), attributes)


def test_numbers_and_statuses_of_a_session() -> None:
    """Counted for each key; what an engine says of them itself does not count; ONCE is END."""
    contract = Contract({}, is_once=False)
    first = contract.pieces(result(text("a", seq="9", status="9"), text("b", key="l")))
    second = contract.pieces(result(text("c", "begin"), text("d", "once", key="l")))
    assert [(one.attributes["seq"], one.status) for one in first + second] == [
        ("1", 1), ("1", 1), ("2", 0), ("2", 2),
    ]  # fmt: skip
    assert status_of(second) == 2


def test_numbers_and_statuses_of_a_call() -> None:
    """Always 0, and ONCE where nothing is said."""
    pieces = Contract({}, is_once=True).pieces(result(text("a"), text("b", "end", key="l")))
    assert [(one.attributes["seq"], one.status) for one in pieces] == [("0", 3), ("0", 2)]


def test_what_is_expected_wins_over_what_the_engine_says() -> None:
    """Attributes; and the type of what it left open."""
    contract = Contract({"k": Expected("audio", {"rate": "8000"})}, is_once=True)
    (piece,) = contract.pieces(result(ResultItem("k", "bytes", "", b"x", {"rate": "1", "own": "o"})))
    assert (piece.kind, piece.attributes["rate"], piece.attributes["own"]) == ("audio", "8000", "o")
    for key, words in (("l", "data is nil "), ("k", "invalid(key or type)")):
        with pytest.raises(AigesError) as raised:
            contract.pieces(result(text("x", key=key)))
        assert raised.value.code == 10106
        assert raised.value.text.endswith(words)


def test_text_that_is_not_utf8_can_be_answered() -> None:
    """What cannot be read is replaced in a call, as AIGES does; a session has every byte."""
    broken = ResultItem("k", "text", "", b"\xff", {"format": "json"})
    assert once_payload(Contract({}, is_once=True).pieces(result(broken)))["k"]["text"] == "\ufffd"
    ((_, payload),) = session_payloads(Contract({}, is_once=False).pieces(result(broken)))
    assert payload["k"]["text"] == "/w=="


@pytest.mark.parametrize("content", ["NaN", "1e999", '"\\ud800"', "[" * 100_000, "{"])
def test_json_that_others_cannot_read_is_not_embedded(content: str) -> None:
    """It stays base64, and the frame is JSON."""
    contract = Contract({}, is_once=False)
    ((_, payload),) = session_payloads(contract.pieces(result(text(content, format="json"))))
    assert payload["k"]["text"] == base64.b64encode(content.encode()).decode()
    json.dumps(payload, allow_nan=False).encode()


def test_every_error_has_a_code_for_calls_and_sessions() -> None:
    """Of one table for all faces; what is not in it is a crash."""
    for kind in errors.BY_CODE.values():
        of_session, of_call = (
            (10200, 10002) if kind.name in OUT_OF_REACH else CODES.get(kind.name, (10109, 10109))
        )
        assert told(kind("text"), is_session=True).code == of_session
        assert told(kind("text"), is_session=False).code == of_call
    assert set(CODES) <= {kind.name for kind in errors.BY_CODE.values()}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.EngineError("m", engine_code=10908, engine_message="e;code=7"), (10908, "e;code=7")),
        (errors.EngineError("m", engine_code=7, engine_message="e"), (10907, "e;code=7")),
        (errors.NoFreeSlotError("all taken"), (10110, "service license not enough: all taken")),
        (ConnectionFailedError("nobody"), (10200, "nobody")),
        (errors.RegistryUnreachableError("no registry"), (10200, "no registry")),
    ],
)
def test_texts_of_errors(error: errors.LoaderError, expected: tuple[int, str]) -> None:
    """An AIGES engine's own as they are; another's with its code; AIGES's own words where licences are meant."""
    said = told(error, is_session=True)
    assert (said.code, said.text) == expected


def test_a_session_that_was_open_is_not_sent_elsewhere() -> None:
    """10110 would make clients try another node, which cannot go on with it."""
    assert told(errors.DrainingError("x"), is_session=True, is_open=True).code == 10019

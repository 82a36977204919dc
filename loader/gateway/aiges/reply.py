"""Results of an engine as the JSON that AIGES answers: what was expected is checked, numbers and statuses are added.

The same rules as of the gRPC face (cpp/server/aiges_contract). Knows no calls and sessions.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from loader.gateway.aiges.errors import INVALID, AigesError
from loader.gateway.aiges.request import BEGIN, CONTINUE, END, ONCE, STATUSES, from_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loader.client import Result, ResultItem
    from loader.gateway.aiges.request import Expected

UNKNOWN_KEY: Final = "wrapper output data is nil "
WRONG_TYPE: Final = "wrapper output data invalid(key or type)"
KIND_OF: Final = {"text": "text", "json": "text", "audio": "audio", "image": "image", "video": "video"}
OWN: Final = ("seq", "status")


@dataclass(frozen=True, slots=True)
class Piece:
    """One payload of an answer."""

    key: str
    kind: str
    status: int
    attributes: Mapping[str, str]
    item: ResultItem

    @property
    def is_final(self) -> bool:
        """Nothing of this session or call follows."""
        return self.status in (END, ONCE)


class Contract:
    """What one client expects of its results, and how many of each key it has had."""

    def __init__(self, expect: Mapping[str, Expected], *, is_once: bool) -> None:
        self._expect = expect
        self._is_once = is_once
        self._counts: dict[str, int] = {}

    def pieces(self, result: Result) -> list[Piece]:
        """The payloads of one result. Raises: AigesError for what was not expected."""
        return [self._piece(item) for item in result.items]

    def _piece(self, item: ResultItem) -> Piece:
        expected = self._expect.get(item.key)
        if expected is None and self._expect:
            raise AigesError(INVALID, UNKNOWN_KEY)
        kind = KIND_OF.get(item.type, "other")
        if expected is not None and expected.kind and expected.kind != kind:
            if item.type != "bytes":
                raise AigesError(INVALID, WRONG_TYPE)
            kind = expected.kind  # what the engine left untyped is what was asked for
        status = self._status(item.status)
        merged = {key: value for key, value in item.attributes.items() if key not in OWN}
        merged |= expected.attributes if expected is not None else {}
        merged |= {"seq": str(self._number(item.key)), "status": str(status)}
        return Piece(item.key, kind, status, merged, item)

    def _status(self, said: str) -> int:
        if said not in STATUSES:
            return ONCE if self._is_once else CONTINUE
        status = STATUSES.index(said)
        return END if status == ONCE and not self._is_once else status

    def _number(self, key: str) -> int:
        if self._is_once:
            return 0
        self._counts[key] = self._counts.get(key, 0) + 1
        return self._counts[key]


def status_of(pieces: list[Piece]) -> int:
    """Of an answer: the final one where there is one, else the last one's."""
    final = next((one.status for one in pieces if one.is_final), None)
    return final if final is not None else pieces[-1].status if pieces else BEGIN


def header(code: int, sid: str, message: str, status: int | None, cid: str = "") -> dict[str, Any]:
    """The header of an answer."""
    made: dict[str, Any] = {"code": code, "message": message, "sid": sid}
    if status is not None:
        made["status"] = status
    return made | ({"cid": cid} if cid else {})


def encoded(answer: Mapping[str, Any]) -> str:
    """As JSON."""
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))


# ---- one-shot calls


def once_payload(pieces: list[Piece]) -> dict[str, Any]:
    """Text as it is, everything else in base64. A key that comes several times is a list of its results."""
    made: dict[str, Any] = {}
    for one in pieces:
        content = _text(one.item.data) if one.kind == "text" else _base64(one.item.data)
        value = {**one.attributes, one.kind: content}
        if one.key in made:
            earlier = made[one.key]
            made[one.key] = [*(earlier if isinstance(earlier, list) else [earlier]), value]
        else:
            made[one.key] = value
    return made


# ---- sessions


def session_payloads(pieces: list[Piece]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Status and payload of each answer; a key that comes again begins another one."""
    waiting: list[Piece] = []
    for one in pieces:
        if any(one.key == earlier.key for earlier in waiting):
            yield status_of(waiting), {piece.key: _session_value(piece) for piece in waiting}
            waiting = []
        waiting.append(one)
    if waiting:
        yield status_of(waiting), {piece.key: _session_value(piece) for piece in waiting}


def _session_value(piece: Piece) -> dict[str, Any]:
    """In base64, but for JSON, which is embedded."""
    content: Any = _base64(piece.item.data)
    if piece.kind == "text" and (piece.item.type == "json" or piece.attributes.get("format") == "json"):
        with suppress(ValueError, RecursionError):
            content = from_json(piece.item.data.decode())
    return {**piece.attributes, piece.kind: content}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

"""A JSON body of AIGES (header, parameter, payload) as what an engine takes: parameters, items, and what is expected.

Knows what the engine declares; refuses to know calls and sessions. Lenient where the meaning is plain; an error says
key and value.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import uuid4

from loader.gateway.aiges.errors import BadBodyError, Fault
from loader.wrapper import Item

if TYPE_CHECKING:
    from collections.abc import Collection

    from loader.gateway.catalog import Served

KINDS: Final = ("text", "audio", "image", "video", "other")
STATUSES: Final = ("begin", "continue", "end", "once")
BEGIN, CONTINUE, END, ONCE = range(4)
SHOWN: Final = 60  # characters of a value in an error
LINE_ENDS: Final = str.maketrans("", "", "\r\n")
WHOLE: Final = re.compile(r"-?[0-9]{1,300}")
SURROGATE: Final = re.compile(r"\\u[dD]")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client wants of one output: its type, where it said one, and attributes for every result."""

    kind: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """One member of the payload."""

    key: str
    kind: str  # one of KINDS; empty: no data member
    content: bytes
    status: int | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Body:
    """One body or frame, taken apart."""

    header: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    expect: Mapping[str, Expected] = field(default_factory=dict)
    data: tuple[Data, ...] = ()

    @property
    def sid(self) -> str:
        """The client's, or a new one."""
        return self.header.get("sid") or str(uuid4())

    @property
    def status(self) -> int | None:
        """What the header says of data that says nothing itself."""
        return _status(self.header.get("status"))

    def status_of(self, data: Data, otherwise: int) -> int:
        """Its own, the header's, or the one given."""
        if data.status is not None:
            return data.status
        return otherwise if self.status is None else self.status


def read(text: str | bytes) -> Body:
    """Raises: BadBodyError."""
    try:
        return _taken_apart(from_json(text if isinstance(text, str) else text.decode("utf-8-sig")))
    except BadBodyError:
        raise
    except (ValueError, RecursionError) as error:
        raise BadBodyError(Fault.JSON, f"the body is not JSON: {error}") from None


def _taken_apart(body: object) -> Body:
    if not isinstance(body, dict):
        raise _wrong("the body", body, "an object with header, parameter and payload")
    parameters, expect = _read_parameters(_object(body, "parameter"))
    header = {key: text_of(value) for key, value in _object(body, "header").items() if value is not None}
    data = tuple(_read_data(key, value) for key, value in _object(body, "payload").items())
    return Body(header, parameters, expect, data)


def from_json(text: str) -> Any:
    """A value that UTF-8 and every reader of JSON can hold. Raises: ValueError, RecursionError."""
    value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    if SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # half a character has no UTF-8
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:SHOWN]} is larger than a number can be")
    return number


def _object(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key, value, "an object")
    return value


def _wrong(key: str, value: object, wanted: str, fault: Fault = Fault.MAPPING) -> BadBodyError:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    return BadBodyError(fault, f"{key} is {shown}: give {wanted}")


def _read_parameters(groups: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, Expected]]:
    """Groups are flattened, their names ignored; objects in them say what is expected."""
    parameters: dict[str, object] = {}
    expect: dict[str, Expected] = {}
    for name, group in groups.items():
        for key, value in group.items() if isinstance(group, dict) else ((name, group),):
            if isinstance(value, dict):
                expect[key] = _read_expected(f"parameter.{name}.{key}", value)
            elif value is not None:
                parameters[key] = value
    return parameters, expect


def _read_expected(place: str, value: Mapping[str, Any]) -> Expected:
    kind = value.get("data_type") or ""
    if kind and kind not in KINDS:
        raise _wrong(f"{place}.data_type", kind, f"one of {', '.join(KINDS)}")
    rest = {key: one for key, one in value.items() if key not in ("data_type", "seq", "status")}
    return Expected(kind, _attributes(rest))


def _attributes(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: text_of(value) for key, value in values.items() if value is not None}


def _read_data(key: str, value: object) -> Data:
    place = f"payload.{key}"
    if not isinstance(value, dict):
        raise _wrong(place, value, 'an object such as {"text": "<base64>", "status": 3}')
    found = [kind for kind in KINDS if kind in value]
    if len(found) > 1:
        raise BadBodyError(Fault.MAPPING, f"{place} has {' and '.join(found)}: give one of them")
    kind = found[0] if found else ""
    content = _content(f"{place}.{kind}", value[kind]) if found else b""
    if _is_broken(value.get("status")):
        raise _wrong(f"{place}.status", value["status"], "0, 1, 2 or 3")
    rest = {name: one for name, one in value.items() if name != kind}
    return Data(key, kind, content, _status(value.get("status")), _attributes(rest))


def _content(place: str, value: object) -> bytes:
    if value is None:
        return b""
    if isinstance(value, str):
        try:
            return base64.b64decode(value.translate(LINE_ENDS), validate=True)
        except (binascii.Error, ValueError) as error:
            raise _wrong(place, value, f"base64, also for text ({error})", Fault.BASE64) from None
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    raise _wrong(place, value, "base64, an object or an array")


def _status(value: object) -> int | None:
    text = text_of(value) if value is not None else ""
    return int(text) if text in ("0", "1", "2", "3") else None


def _is_broken(status: object) -> bool:
    return status is not None and _status(status) is None


def text_of(value: object) -> str:
    """A value as AIGES has it, which has texts only: numbers in plain decimals, objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# ---- for one engine


def parameters_of(body: Body, engine: Served, header_pass: Collection[str], sid: str) -> dict[str, object]:
    """What the engine gets: parameters as it declares them, the headers that are passed on, and the sid."""
    passed = {key: value for key, value in body.header.items() if key in header_pass and key != "sid"}
    asked = {key: value for key, value in body.parameters.items() if key != "sid" and key not in passed}
    offered = {key: value for key, value in (*passed.items(), ("sid", sid)) if engine.takes_parameter(key)}
    return {key: _declared(value, engine.parameters.get(key, "")) for key, value in (asked | offered).items()}


def _declared(value: object, kind: str) -> object:
    """In the declared type where the value can be one; else as it is, for the loader to refuse."""
    if kind == "string":
        return value if isinstance(value, str) else text_of(value)
    if not isinstance(value, str):
        is_whole = kind == "integer" and isinstance(value, float) and value.is_integer()
        return int(value) if is_whole else value  # type: ignore[call-overload]
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    if kind == "integer" and WHOLE.fullmatch(value):
        return int(value)
    return _number(value) if kind == "number" else value


def _number(text: str) -> object:
    try:
        number: object = from_json(text)
    except (ValueError, RecursionError):
        return text
    return number if isinstance(number, int | float) and not isinstance(number, bool) else text


def frame_of(body: Body, engine: Served, otherwise: int) -> list[tuple[str, object]]:
    """One frame of its data; `otherwise` is the status of what says none."""
    return [
        (one.key, _item(one, body.status_of(one, otherwise), engine.inputs.get(one.key, "")))
        for one in body.data
    ]


def _item(data: Data, status: int, declared: str) -> Item:
    kind: str | None = data.kind
    if kind == "text":
        # Text in another encoding than UTF-8 is nothing that a text may hold here.
        kind = (
            "json" if declared == "json" else "text" if declared == "text" or _is_utf8(data.content) else None
        )
    elif kind in ("other", ""):
        # AIGES has no word for the rest: an engine that declares a type gets that one.
        kind = None if declared in ("", "bytes", "tensor") else declared if kind == "" else None
    return Item(data.content, type=kind, status=STATUSES[status], attributes=data.attributes)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True

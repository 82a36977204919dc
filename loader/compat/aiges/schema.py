"""The schema that AIGES publishes of a wrapper, in its legacy and its second form, and the fields it is made of.

Reads class attributes only: no object of the author's is needed. Fields are taken by what they have, so that
those of an installed `aiges` are as good as ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

KINDS: Final = ("text", "audio", "image", "video")
HEADER_V2: Final = (
    "uid", "device_id", "imei", "imsi", "mac", "net_type", "net_isp", "res_id",
)  # fmt: skip
STATUS: Final = {"type": "integer", "enum": [0, 1, 2, 3]}
SEQ: Final = {"type": "integer", "minimum": 0, "maximum": 9999999}
MOST_BYTES: Final = 10 * 1024 * 1024


@dataclass(slots=True)
class Fields:
    """What a wrapper declares."""

    inputs: list[Any] = field(default_factory=list)
    accepts: list[Any] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)


def fields_of(request: object, response: object) -> Fields:
    """The fields of `requestCls` and `responseCls`, each an object or a class; None has none."""
    asked, answered = _members(request), _members(response)
    return Fields(
        [one for _, one in asked if isinstance(one.data_type, int)],
        [one for name, one in answered if name.startswith("accept") or isinstance(one.data_type, int)],
        [one for _, one in asked if isinstance(one.data_type, str)],
    )


def _members(holder: object) -> list[tuple[str, Any]]:
    if holder is None:
        return []
    class_ = holder if isinstance(holder, type) else type(holder)
    found: dict[str, Any] = {}
    for one in reversed(class_.__mro__):
        found.update(vars(one))
    if holder is not class_:
        found.update(getattr(holder, "__dict__", {}))
    return [
        (name, value)
        for name, value in found.items()
        if hasattr(value, "key") and isinstance(getattr(value, "data_type", None), int | str)
    ]


def kind_of(field_: Any) -> str:
    """text, audio, image or video."""
    number = field_.data_type
    return KINDS[number] if isinstance(number, int) and 0 <= number < len(KINDS) else "text"


class UndeclaredError(AttributeError):
    """A schema was asked for that the wrapper declares nothing of."""


def schema_of(class_: type, *, legacy: bool, is_aipaas: bool = True) -> dict[str, Any]:
    """The schema. Raises: UndeclaredError without inputs or outputs."""
    declared = fields_of(getattr(class_, "requestCls", None), getattr(class_, "responseCls", None))
    if not declared.inputs or not declared.accepts:
        raise UndeclaredError(
            f"{class_.__name__} declares no input or no output: set requestCls and responseCls to have a schema"
        )
    service = str(getattr(class_, "serviceId", "") or class_.__name__)
    return {
        "meta": _meta(class_, service, declared),
        "schemainput": {"type": "object", "properties": _request(service, declared, legacy, is_aipaas)},
        "schemaoutput": {"type": "object", "properties": {"payload": _object(payload_of(declared.accepts))}},
    }


def _meta(class_: type, service: str, declared: Fields) -> dict[str, Any]:
    said = {name: getattr(class_, name, None) for name in ("sub", "call", "call_type", "hosts", "route")}
    version = str(getattr(class_, "version", "") or "v1")
    return {
        "serviceId": service,
        "version": version,
        "service": [service],
        "sub": said["sub"] or "ase",
        "call": said["call"] or "atmos",
        "call_type": str(said["call_type"] or "0"),
        "webgate_type": "0",
        "hosts": said["hosts"] or "api.xf-yun.com",
        "route": said["route"] or f"/{version}/private/{service}",
        service: {
            "input": kinds_of(declared.inputs),
            "accept": kinds_of(declared.accepts),
        },
    }


def kinds_of(fields: list[Any]) -> dict[str, Any]:
    """The kind of data of each key."""
    return {one.key: {"dataType": kind_of(one)} for one in fields}


def payload_of(fields: list[Any]) -> dict[str, Any]:
    """The schema of each key's data."""
    return {one.key: _object(_data(kind_of(one))) for one in fields}


def parameters_of(params: list[Any], default: str = "default") -> dict[str, Any]:
    """The schema of each parameter."""
    return {one.key: _parameter(one, default) for one in params}


def _object(properties: Mapping[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    return made | {"required": required} if required else made


def _request(service: str, declared: Fields, legacy: bool, is_aipaas: bool) -> dict[str, Any]:
    default = "default" if legacy or not is_aipaas else "defaultVal"
    wanted = {one.key: _output_choice(one) for one in declared.accepts}
    params = parameters_of(declared.params, default)
    required = [one.key for one in declared.params if getattr(one, "required", False)]
    return {
        "header": _header(legacy),
        "parameter": _object({service: _object(params | wanted, required)}),
        "payload": _object(payload_of(declared.inputs)),
    }


def _header(legacy: bool) -> dict[str, Any]:
    text = {"type": "string", "maxLength": 50}
    names: dict[str, Any] = (
        {"appid": text, "uid": text} if legacy else {"appid": text} | dict.fromkeys(HEADER_V2, text)
    )
    return _object(names if legacy else names | {"status": STATUS}, ["appid"])


def _parameter(one: Any, default: str) -> dict[str, Any]:
    made: dict[str, Any] = {"type": one.data_type}
    choices = list(getattr(one, "enums", None) or ())
    limits = {"string": ("minLength", "maxLength"), "number": ("minimum", "maximum")}
    limits["integer"] = limits["number"]
    own = {"minLength": "min_length", "maxLength": "max_length"}
    if choices:
        made["enum"] = choices
    else:
        for word in limits.get(one.data_type, ()):
            value = getattr(one, own.get(word, word), None)
            if value is not None:
                made[word] = value
    value = getattr(one, "value", None)
    if value not in (None, ""):
        made[default] = value
    return made


def _output_choice(one: Any) -> dict[str, Any]:
    return _object({"data_type": {"type": "string", "enum": [kind_of(one)]}} | _encodings(kind_of(one)))


def _data(kind: str) -> dict[str, Any]:
    content = {"type": "string", "minLength": 0 if kind == "text" else 1, "maxLength": MOST_BYTES}
    return _encodings(kind) | {kind: content, "status": STATUS, "seq": SEQ}


def _encodings(kind: str) -> dict[str, Any]:
    if kind == "image":
        return {"encoding": {"type": "string", "enum": ["jpg", "png", "bmp", "jpeg"]}}
    if kind == "audio":
        names = ["raw", "lame", "opus", "opus-wb", "speex", "speex-wb"]
        return {
            "encoding": {"type": "string", "enum": names},
            "sample_rate": {"type": "integer", "enum": [8000, 16000]},
            "channels": {"type": "integer", "enum": [1, 2]},
            "bit_depth": {"type": "integer", "enum": [8, 16]},
        }
    if kind == "text":
        return {
            "encoding": {"type": "string", "enum": ["utf8", "gb2312"]},
            "compress": {"type": "string", "enum": ["raw", "gzip"]},
            "format": {"type": "string", "enum": ["plain", "json", "xml"]},
        }
    return {"encoding": {"type": "string"}}

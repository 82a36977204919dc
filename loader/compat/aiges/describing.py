"""What `Describe` and `loader check` say of an AIGES wrapper: how it was bound, what it declares, its schema.

It stands in a member of its own, `aiges`, for people and for the HTTP face: AIGES checks neither keys nor
parameters, so nothing of it may make the loader refuse a request.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from loader.compat.aiges.author import Author
from loader.compat.aiges.schema import Fields, UndeclaredError, fields_of, kind_of, schema_of


def description_of(author: Author, reads_results: bool) -> dict[str, Any]:
    """One JSON object."""
    said: dict[str, Any] = {
        "flavour": author.flavour,
        "era": author.era,
        "calls": {name: str(binding) for name, binding in author.bindings.items()},
        "session_results": "wrapperRead" if reads_results else "callback",
    }
    class_ = author.class_
    if class_ is None:
        return said
    said["service_id"] = str(getattr(class_, "serviceId", "") or "")
    said["version"] = str(getattr(class_, "version", "") or "")
    declared = fields_of(getattr(class_, "requestCls", None), getattr(class_, "responseCls", None))
    said["inputs"] = _data(declared.inputs)
    said["outputs"] = _data(declared.accepts)
    said["parameters"] = _parameters(declared)
    with suppress(UndeclaredError):
        said["schema"] = schema_of(class_, legacy=False)
    described: dict[str, Any] = plain(said)
    return described


def plain(said: Any) -> Any:
    """The same as JSON that every reader takes: bytes as text, NaN and infinities as null, half a surrogate as `?`."""
    text = json.dumps(said, default=str, ensure_ascii=False).encode(errors="replace")
    return json.loads(text, parse_constant=lambda _: None)


def _data(fields: list[Any]) -> list[dict[str, Any]]:
    return [{"key": str(one.key), "type": kind_of(one)} for one in fields]


def _parameters(declared: Fields) -> list[dict[str, Any]]:
    return [
        {"name": str(one.key), "type": one.data_type, "required": bool(getattr(one, "required", False))}
        for one in declared.params
    ]

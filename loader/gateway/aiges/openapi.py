"""The routes of the AIGES face as OpenAPI 3.0.3: from an AIGES wrapper's schema, else from what an engine declares.

Pure. Keeps what OpenAPI knows of a schema, and a default only where it is one of the values allowed: a description
with one mistake in it cannot be used at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from loader.gateway.catalog import mapping

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loader.gateway.catalog import Served

VERSION: Final = "3.0.3"
KINDS: Final = {"text": "text", "json": "text", "audio": "audio", "image": "image", "video": "video"}
TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
    "object": (dict,), "array": (list,),
}  # fmt: skip
LIMITS: Final = ("minimum", "maximum", "minLength", "maxLength")
STATUS: Final = {
    "type": "integer",
    "enum": [0, 1, 2, 3],
    "description": "0 begin, 1 continue, 2 end, 3 all at once",
}
BASE64: Final = {"type": "string", "description": "base64"}
ANSWER_HEADER: Final = {
    "type": "object",
    "properties": {
        "code": {"type": "integer", "description": "0: done"},
        "message": {"type": "string"},
        "sid": {"type": "string"},
        "status": STATUS,
    },
    "required": ["code", "sid"],
}
FAILURE: Final = {"type": "object", "properties": {"header": ANSWER_HEADER, "payload": {"nullable": True}}}


def openapi(engines: Iterable[Served], version: str) -> dict[str, Any]:
    """The document."""
    paths: dict[str, Any] = {}
    for one in engines:
        for route in one.routes:
            # Braces would be parameters of the path.
            paths.setdefault(route.replace("{", "%7B").replace("}", "%7D"), _path(one, route))
    info = {
        "title": "Engine Loader",
        "version": version,
        "description": "POST: one call. A WebSocket: a session.",
    }
    return {"openapi": VERSION, "info": info, "paths": paths}


def _path(engine: Served, route: str) -> dict[str, Any]:
    request, answer = _aiges(engine) if engine.aiges_schema else _declared(engine)
    answered = {"type": "object", "properties": {"header": ANSWER_HEADER, "payload": answer}}
    operation = {
        "operationId": route.strip("/"),
        "summary": f"Call {engine.name}",
        "description": "The same path is a WebSocket: each frame is such a body, and a session ends with status 2.",
        "tags": [engine.name],
        "requestBody": {"required": True, "content": _json(request)},
        "responses": {
            "200": {
                "description": "The result; text as it is, everything else in base64.",
                "content": _json(answered),
            },
            "500": {"description": "What went wrong is in the header.", "content": _json(FAILURE)},
        },
    }
    return {"post": operation}


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(properties: Mapping[str, Any], required: Iterable[str] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    names = [name for name in required if name in properties]
    return made | {"required": names} if names else made


# ---- from the schema of an AIGES wrapper


def _aiges(engine: Served) -> tuple[dict[str, Any], dict[str, Any]]:
    schema = engine.aiges_schema
    request = cleaned({**mapping(schema.get("schemainput")), "type": "object"})
    answer = cleaned(mapping(mapping(mapping(schema.get("schemaoutput")).get("properties")).get("payload")))
    return request, answer


def cleaned(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI knows of it."""
    kind = schema.get("type") if schema.get("type") in TYPES else None
    made: dict[str, Any] = {"type": kind} if kind else {}
    made |= {key: schema[key] for key in ("title", "description") if isinstance(schema.get(key), str)}
    made |= {key: schema[key] for key in LIMITS if _is_limit(key, schema.get(key))}
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        made["enum"] = [one for index, one in enumerate(choices) if one not in choices[:index]]
    properties = mapping(schema.get("properties"))
    if properties:
        made["properties"] = {str(key): cleaned(mapping(value)) for key, value in properties.items()}
        required = schema.get("required")
        names = [one for one in required if one in properties] if isinstance(required, list) else []
        made |= {"required": list(dict.fromkeys(names))} if names else {}
    if kind == "array":
        made["items"] = cleaned(mapping(schema.get("items")))
    default = schema.get("default", schema.get("defaultVal"))
    return made | ({"default": default} if default is not None and _is_allowed(default, made) else {})


def _is_limit(key: str, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return key in ("minimum", "maximum") or (isinstance(value, int) and value >= 0)


def _is_allowed(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a default is a value of its own schema; of objects and arrays nothing is said."""
    kind = schema.get("type")
    if kind in ("object", "array", None) or not isinstance(value, TYPES[str(kind)]):
        return False
    if isinstance(value, bool) != (kind == "boolean"):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    size = len(value) if isinstance(value, str) else value
    least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minimum", "maximum")
    return bool(schema.get(least, size) <= size <= schema.get(most, size))


# ---- from what any other engine declares


def _declared(engine: Served) -> tuple[dict[str, Any], dict[str, Any]]:
    declaration = engine.declaration
    parameters = {str(one["name"]): _parameter(one) for one in _entries(declaration, "parameters", "name")}
    required = [
        str(one["name"]) for one in _entries(declaration, "parameters", "name") if one.get("required")
    ]
    header = _object({"sid": {"type": "string"}, "status": STATUS})
    group = _object(parameters, required) if parameters else {"type": "object"}
    request = {
        "header": header,
        "parameter": _object({engine.name: group}, [engine.name] if required else ()),
        "payload": _payload(_entries(declaration, "inputs", "key"), is_input=True),
    }
    answer = _payload(_entries(declaration, "outputs", "key"), is_input=False)
    return _object(request, ["payload"]), answer


def _entries(declaration: Mapping[str, Any], member: str, key: str) -> list[Mapping[str, Any]]:
    declared = declaration.get(member)
    found = declared if isinstance(declared, list) else []
    return [one for one in found if isinstance(one, Mapping) and key in one]


def _parameter(one: Mapping[str, Any]) -> dict[str, Any]:
    return cleaned({key: value for key, value in one.items() if key not in ("name", "required")})


def _payload(entries: list[Mapping[str, Any]], *, is_input: bool) -> dict[str, Any]:
    if not entries:
        anything = {
            "type": "object",
            "description": "text, audio, image, video or other in base64; attributes",
        }
        return {"type": "object", "additionalProperties": anything}
    required = [str(one["key"]) for one in entries if is_input and one.get("required")]
    return _object({str(one["key"]): _data(one, is_input=is_input) for one in entries}, required)


def _data(one: Mapping[str, Any], *, is_input: bool) -> dict[str, Any]:
    kind = KINDS.get(str(one.get("type", "")), "other")
    is_raw = kind == "text" and not is_input
    made = _object(
        {kind: {"type": "string"} if is_raw else BASE64, "status": STATUS if is_input else {"type": "string"}}
    )
    return made | ({"description": one["description"]} if isinstance(one.get("description"), str) else {})

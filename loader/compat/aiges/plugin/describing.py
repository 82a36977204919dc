"""What `Describe` says of a command: what its wrapperSchema declares, in the words that other AIGES wrappers have."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from loader.compat.aiges.describing import plain
from loader.compat.aiges.schema import KINDS

logger = logging.getLogger("aiges")


def description_of(text: str) -> dict[str, Any]:
    """The member `aiges`; without a schema, or with one that is none, only how it runs."""
    said: dict[str, Any] = {"flavour": "command", "era": "", "calls": {}, "session_results": "callback"}
    try:
        schema = plain(json.loads(text)) if text else None
    except (ValueError, RecursionError):
        schema = None
        logger.warning("wrapperSchema is no JSON: %.60r", text)
    if not isinstance(schema, Mapping):
        return said
    meta = _mapping(schema.get("meta"))
    service = str(meta.get("serviceId") or "")
    fields = _mapping(meta.get(service))
    said |= {"service_id": service, "version": str(meta.get("version") or "")}
    said["inputs"] = _data(fields.get("input"), schema.get("schemainput"))
    said["outputs"] = _data(fields.get("accept"), schema.get("schemaoutput"))
    outputs = {one["key"] for one in said["outputs"]}
    said["parameters"] = _parameters(schema, service, outputs)
    return said | {"schema": schema}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _data(fields: Any, shape: Any) -> list[dict[str, Any]]:
    """What the meta part says, else what the payload's own schema does."""
    if isinstance(fields, Mapping):
        return [
            {"key": key, "type": str(_mapping(one).get("dataType") or "text")} for key, one in fields.items()
        ]
    payload = _inner(shape, "properties", "payload", "properties")
    return [{"key": key, "type": _kind_of(one)} for key, one in payload.items()]


def _kind_of(shape: Any) -> str:
    members = _inner(shape, "properties")
    return next((kind for kind in KINDS if kind in members), "text")


def _inner(node: Any, *names: str) -> Mapping[str, Any]:
    for name in names:
        node = _mapping(node).get(name)
    return _mapping(node)


def _parameters(schema: Mapping[str, Any], service: str, outputs: set[str]) -> list[dict[str, Any]]:
    """Those of the service; what a client may say of an output stands beside them."""
    node = _inner(schema, "schemainput", "properties", "parameter", "properties", service)
    required = node.get("required")
    wanted = required if isinstance(required, list) else []
    return [
        {"name": name, "type": str(_mapping(one).get("type") or "string"), "required": name in wanted}
        for name, one in _mapping(node.get("properties")).items()
        if name not in outputs
    ]

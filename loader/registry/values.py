"""Entries of a registry as text, the same in every backend."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import Any

from loader.registry.protocol import EngineEntry, NodeEntry

logger = logging.getLogger(__name__)


def entry_text(entry: NodeEntry) -> str:
    """As compact JSON."""
    values = {**asdict(entry), "metadata": dict(entry.metadata)}
    values["engines"] = [{**asdict(one), "capabilities": dict(one.capabilities)} for one in entry.engines]
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def entry_from(text: str) -> NodeEntry | None:
    """None for what is not one: other programs may write here. Keys of later versions are ignored."""
    try:
        values = json.loads(text)
        engines = tuple(EngineEntry(**_known(EngineEntry, one)) for one in values.get("engines", ()))
        return NodeEntry(**{**_known(NodeEntry, values), "engines": engines})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("not an entry of a node", extra={"error": str(error)})
        return None


def _known(kind: type[EngineEntry] | type[NodeEntry], values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in kind.__dataclass_fields__ if name in values}

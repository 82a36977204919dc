"""Entries of a registry as text, the same in every backend."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from loader.errors import LoaderError
from loader.registry.protocol import EngineEntry, NodeEntry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

logger = logging.getLogger(__name__)


def entry_text(entry: NodeEntry) -> str:
    """As compact JSON."""
    return json.dumps(asdict(entry), separators=(",", ":"), sort_keys=True)


def entry_from(text: str) -> NodeEntry | None:
    """None for what is not one: other programs may write here. Keys of later versions are ignored."""
    try:
        values = json.loads(text)
        engines = tuple(EngineEntry(**_known(EngineEntry, one)) for one in values.get("engines", ()))
        return NodeEntry(**{**_known(NodeEntry, {**values, "engines": ()}), "engines": engines})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        logger.warning("not an entry of a node", extra={"error": str(error)})
        return None


def _known(kind: type[EngineEntry] | type[NodeEntry], values: dict[str, Any]) -> dict[str, Any]:
    found = {name: values[name] for name in kind.__dataclass_fields__ if name in values}
    for name, value in found.items():
        if not _fits(kind.__dataclass_fields__[name].type, value):
            raise ValueError(f"{name}: {value!r}")
    return found


def _fits(kind: Any, value: Any) -> bool:
    """Whether a value read from JSON is of the type that the field declares, as text."""
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if kind in ("str", "bool"):
        return isinstance(value, str if kind == "str" else bool)
    if str(kind).startswith("Mapping"):
        return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return True


async def changes(
    looks: AsyncGenerator[list[NodeEntry] | LoaderError, None],
) -> AsyncGenerator[list[NodeEntry] | LoaderError, None]:
    """What a watch yields: the nodes unless they are the last ones, and every error; after one, the nodes again."""
    known: list[NodeEntry] | None = None
    async with contextlib.aclosing(looks) as found:
        async for nodes in found:
            if isinstance(nodes, LoaderError):
                known = None
                yield nodes
            elif nodes != known:
                known = nodes
                yield nodes

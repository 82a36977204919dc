"""A configuration as lines for people: every key with the place where it was written, what is secret masked.

Pure; refuses to know terminals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loader.config.document import Document, Path, Value

MASK = "***"


@dataclass(frozen=True, slots=True)
class Line:
    """One key."""

    text: str  # YAML
    origin: str  # document:line
    is_secret: bool = False


def masked(document: Document) -> dict[str, Value]:
    """The values; what came from the environment is masked."""
    found = _masked(document, document.values, ())
    assert isinstance(found, dict)
    return found


def lines(document: Document) -> Iterator[Line]:
    """The values as lines of YAML."""
    yield from _lines(document, document.values, ())


def origins(document: Document) -> dict[str, str]:
    """Where each key was written."""
    keys = sorted(path for path in document.lines if path and all(isinstance(part, str) for part in path))
    return {".".join(map(str, path)): str(document.place_of(path)) for path in keys}


def _masked(document: Document, value: Value, path: Path) -> Value:
    if path in document.secrets:
        return MASK
    if isinstance(value, dict):
        return {key: _masked(document, below, (*path, key)) for key, below in value.items()}
    if isinstance(value, list):
        return [_masked(document, below, (*path, number)) for number, below in enumerate(value)]
    return value


def _lines(document: Document, values: Mapping[str, Value], path: Path) -> Iterator[Line]:
    for key, value in values.items():
        here = (*path, key)
        name = f"{'  ' * len(path)}{_word(key)}:"
        origin = str(document.place_of(here))
        if isinstance(value, dict) and value:
            yield Line(name, origin)
            yield from _lines(document, value, here)
        else:
            is_secret = any(secret[: len(here)] == here for secret in document.secrets)
            yield Line(f"{name} {_value(_masked(document, value, here))}", origin, is_secret)


def _word(key: str) -> str:
    is_plain = key.replace("_", "").replace("-", "").isalpha() and key.lower() not in (
        "null", "true", "false", "yes", "no", "on", "off", "y", "n"
    )  # fmt: skip
    return key if is_plain else json.dumps(key, ensure_ascii=False)


def _value(value: Value) -> str:
    """JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)

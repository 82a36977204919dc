"""YAML text as plain values, with the line of every key and `${NAME}` replaced from the environment.

Knows YAML and nothing of what the keys mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import yaml

from loader.errors import BadConfigError

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Path: TypeAlias = "tuple[str | int, ...]"

_VARIABLE = re.compile(r"\$(\$)?\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class Place(NamedTuple):
    """A line of a document."""

    document: str
    line: int

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(slots=True)
class Document:
    """The values of one file, where each stands, and which came from the environment."""

    origin: str
    values: dict[str, Value] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    secrets: set[Path] = field(default_factory=set)
    origins: dict[Path, str] = field(default_factory=dict)  # of keys that come from an included document

    def place_of(self, path: Path) -> Place:
        """Where a key is written, or the nearest key above it that is."""
        while path and path not in self.lines:
            path = path[:-1]
        return Place(self.origins.get(path, self.origin), self.lines.get(path, 1))


def parse_document(text: str, origin: str, environment: Mapping[str, str]) -> Document:
    """The document in `text`. Raises: BadConfigError with file, line and what to change."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise BadConfigError(f"{origin}:{line}: not valid YAML: {error.problem}") from None
    document = Document(origin)
    if node is None:
        return document
    if not isinstance(node, yaml.MappingNode):
        raise BadConfigError(f"{origin}:1: the file is not a mapping of keys to values")
    values = _Reader(document, environment).read(node, ())
    assert isinstance(values, dict)
    document.values = values
    return document


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._scalars = yaml.SafeLoader("")

    def read(self, node: yaml.Node, path: Path) -> Value:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._read_scalar(node, path)

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                raise BadConfigError(f"{self._document.origin}:{line}: a key must be a plain word")
            if key in values:
                first = self._document.lines[(*path, key)]
                raise BadConfigError(
                    f"{self._document.origin}:{line}: `{key}` is given twice, first in line {first}: remove one"
                )
            self._document.lines[(*path, key)] = line
            values[key] = self.read(value_node, (*path, key))
        return values

    def _read_scalar(self, node: yaml.Node, path: Path) -> Value:
        if isinstance(node.value, str) and "${" in node.value:
            return self._substitute(node, path)
        value = self._scalars.construct_object(node)
        # Dates and binary are what YAML makes of some plain words; a configuration means the words.
        return value if value is None or isinstance(value, (bool, int, float, str)) else str(node.value)

    def _substitute(self, node: yaml.Node, path: Path) -> str:
        line = node.start_mark.line + 1

        def replace(match: re.Match[str]) -> str:
            escape, name, default = match.groups()
            if escape:
                return match.group(0)[1:]
            self._document.secrets.add(path)
            value = self._environment.get(name, default)
            if value is None:
                raise BadConfigError(
                    f"{self._document.origin}:{line}: the environment variable {name} is not set: "
                    f"set it, or give a default as ${{{name}:-value}}"
                )
            return value

        return _VARIABLE.sub(replace, node.value)

"""YAML text as plain values, with the line of every key and `${NAME}` replaced from the environment.

Knows YAML and nothing of what the keys mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import yaml

from loader.errors import BadConfigError

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"
Path: TypeAlias = "tuple[str | int, ...]"

MOST_VALUES = 100_000  # aliases of aliases make millions out of a few lines

_PLAIN_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float"))
# Words that YAML makes dates, binary data and operators of; a configuration means the words.
_WORD_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value"))
_MAPPING_TAG = "tag:yaml.org,2002:map"
_SEQUENCE_TAG = "tag:yaml.org,2002:seq"
_MERGE_TAG = "tag:yaml.org,2002:merge"
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
    texts: dict[Path, str] = field(default_factory=dict)  # plain values as they are written

    def place_of(self, path: Path) -> Place:
        """Where a key is written, or the nearest key above it that is."""
        while path and path not in self.lines:
            path = path[:-1]
        return Place(self.origins.get(path, self.origin), self.lines.get(path, 1))


def parse_document(text: str, origin: str, environment: Mapping[str, str]) -> Document:
    """The document in `text`. Raises: BadConfigError with file, line and what to change."""
    node = _compose(text, origin)
    document = Document(origin)
    if node is None:
        return document
    if not isinstance(node, yaml.MappingNode):
        raise BadConfigError(f"{origin}:1: the file is not a mapping of keys to values")
    values = _Reader(document, environment).read(node, ())
    assert isinstance(values, dict)
    document.values = values
    return document


def _compose(text: str, origin: str) -> yaml.Node | None:
    try:
        found: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = ord(error.character) if isinstance(error.character, str) else error.character
        raise BadConfigError(
            f"{origin}:{line}: the character U+{code:04X} cannot stand in YAML: remove it"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise BadConfigError(
            f"{origin}:{line}: not valid YAML: {error.problem}: correct this line or the one above it"
        ) from None
    except (RecursionError, ValueError) as error:
        raise BadConfigError(f"{origin}:1: not valid YAML: {_first_line(error)}: nest less deeply") from None
    return found


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


class _Reader:
    """Walks the nodes of one document."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._scalars = yaml.SafeLoader("")
        self._above: list[yaml.Node] = []
        self._values = 0

    def read(self, node: yaml.Node, path: Path) -> Value:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._error(node, f"there are more than {MOST_VALUES} values: remove aliases (`*name`)")
        if isinstance(node, yaml.ScalarNode):
            return self._read_scalar(node, path)
        if any(node is one for one in self._above):
            raise self._error(node, "an alias (`*name`) stands inside what it names: write the values out")
        self._above.append(node)
        value = (
            self._read_mapping(node, path)
            if isinstance(node, yaml.MappingNode)
            else self._read_list(node, path)
        )
        self._above.pop()
        return value

    def _error(self, node: yaml.Node, text: str) -> BadConfigError:
        return BadConfigError(f"{self._document.origin}:{node.start_mark.line + 1}: {text}")

    def _read_list(self, node: yaml.Node, path: Path) -> list[Value]:
        if node.tag != _SEQUENCE_TAG:
            raise self._unknown_tag(node)
        return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]

    def _unknown_tag(self, node: yaml.Node) -> BadConfigError:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        return self._error(node, f"the tag `{tag}` is not known here: remove it, or quote the value")

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        if node.tag != _MAPPING_TAG:
            raise self._unknown_tag(node)
        values: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self._read_key(key_node)
            if key in values:
                first = self._document.lines[(*path, key)]
                raise self._error(key_node, f"`{key}` is given twice, first in line {first}: remove one")
            self._document.lines[(*path, key)] = key_node.start_mark.line + 1
            values[key] = self.read(value_node, (*path, key))
        return values

    def _read_key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error(node, "a key must be a plain word")
        if node.tag == _MERGE_TAG:
            raise self._error(node, "`<<` merges nothing here: repeat the keys")
        if node.tag not in (*_PLAIN_TAGS, *_WORD_TAGS):
            raise self._unknown_tag(node)
        return self._checked_text(node, str(node.value))

    def _read_scalar(self, node: yaml.Node, path: Path) -> Value:
        if node.tag not in (*_PLAIN_TAGS, *_WORD_TAGS, _MERGE_TAG):
            raise self._unknown_tag(node)
        if "${" in node.value:
            return self._checked_text(node, self._substitute(node, path))
        self._document.texts[path] = node.value
        if node.tag not in _PLAIN_TAGS:
            return self._checked_text(node, str(node.value))
        return self._read_plain(node)

    def _read_plain(self, node: yaml.Node) -> Value:
        try:
            value = self._scalars.construct_object(node)
        except (ValueError, KeyError, yaml.YAMLError):
            kind = node.tag.rpartition(":")[2]
            shown = node.value if len(node.value) <= 40 else f"{node.value[:40]}…"
            raise self._error(
                node, f"`{shown}` is no {kind} that can be read: correct it, or quote it"
            ) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self._error(node, f"`{node.value}` is not a finite number: write a number, or quote it")
        assert value is None or isinstance(value, (bool, int, float))
        return value

    def _checked_text(self, node: yaml.Node, text: str) -> str:
        """Raises: BadConfigError for text that no program's argument, path or JSON could hold."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self._error(node, "the value is not text that UTF-8 can hold: correct it") from None
        if "\0" in text:
            raise self._error(node, "the value has a NUL character in it: remove it")
        return text

    def _substitute(self, node: yaml.Node, path: Path) -> str:
        def replace(match: re.Match[str]) -> str:
            escape, name, default = match.groups()
            if escape:
                return match.group(0)[1:]
            self._document.secrets.add(path)
            value = self._environment.get(name, default)
            if value is None:
                raise self._error(
                    node,
                    f"the environment variable {name} is not set: "
                    f"set it, or give a default as ${{{name}:-value}}",
                )
            return value

        return _VARIABLE.sub(replace, node.value)

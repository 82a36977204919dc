"""Changes of single keys in YAML text: everything else of the text, comments included, stays as it was written.

Knows the positions that YAML gives; refuses to know what the keys mean. What was made is read again: a change that
does not give exactly the wanted values is refused, never written.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import yaml

from loader.config.document import parse_document
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from loader.config.document import Path, Value

CURE = "edit it by hand: `loader ctl edit`"
ENDLESS = 1 << 20  # a width: one line


class _Variables(dict[str, str]):
    """An environment in which every variable is its own name: texts can be compared without knowing values."""

    def get(self, key: str, default: str | None = None) -> str:  # type: ignore[override]
        return f"${{{key}}}" if default is None else f"${{{key}:-{default}}}"


def set_key(text: str, origin: str, path: Path, value: Value) -> str:
    """The text with `path` set to `value`; missing mappings on the way are made. Raises: BadConfigError."""
    root = _root(text, origin)
    if root is None:
        made = (
            text
            + ("" if not text or text.endswith("\n") else "\n")
            + _line(path[0], _nested(path[1:], value))
        )
    else:
        made = _Editor(text, origin, path).set(root, value)
    return _proved(text, made, origin, path, value)


def remove_key(text: str, origin: str, path: Path) -> str:
    """The text without `path`. Raises: BadConfigError where it is not written there."""
    root = _root(text, origin)
    made = _Editor(text, origin, path).remove(root) if root is not None else text
    return _proved(text, made, origin, path, None, is_removed=True)


def _root(text: str, origin: str) -> yaml.MappingNode | None:
    parse_document(text, origin, _Variables())  # says what is wrong with it, and where
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is None or isinstance(node, yaml.MappingNode)
    return node


def _proved(text: str, made: str, origin: str, path: Path, value: Value, *, is_removed: bool = False) -> str:
    wanted = copy.deepcopy(parse_document(text, origin, _Variables()).values)
    at = wanted
    for key in path[:-1]:
        below = at.get(str(key))
        if not isinstance(below, dict):
            below = at[str(key)] = {}
        at = below
    if is_removed:
        at.pop(str(path[-1]), None)
    else:
        at[str(path[-1])] = value
    try:
        is_same = _plain(parse_document(made, origin, _Variables()).values) == _plain(wanted)
    except BadConfigError:
        is_same = False
    if not is_same:
        raise BadConfigError(f"{origin}: {'.'.join(map(str, path))} cannot be changed in its text: {CURE}")
    return made


def _plain(value: Value) -> Value:
    """An empty mapping and nothing at all are the same where a key was removed or none is left."""
    if isinstance(value, dict):
        return {key: _plain(below) for key, below in value.items()} or None
    return value


def _nested(path: Path, value: Value) -> Value:
    for key in reversed(path):
        value = {str(key): value}
    return value


def _scalar(value: Value) -> str:
    """A value on one line; mappings in braces."""
    text = yaml.safe_dump(value, default_flow_style=True, width=ENDLESS, sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _line(key: str | int, value: Value) -> str:
    return f"{_scalar(str(key))}: {_scalar(value)}\n"


class _Editor:
    """One change of one text."""

    def __init__(self, text: str, origin: str, path: Path) -> None:
        self._text = text
        self._origin = origin
        self._path = path

    def set(self, root: yaml.MappingNode, value: Value) -> str:
        """The text with the key set."""
        parent, above, key, node, rest = self._find(root)
        value = _nested(rest, value)
        if key is None or node is None:
            return self._insert(
                parent, above, _scalar(str(self._path[len(self._path) - len(rest) - 1])), value
            )
        return self._replace(key, node, value)

    def remove(self, root: yaml.MappingNode) -> str:
        """The text without the key and what belongs to it."""
        parent, _, key, node, rest = self._find(root)
        if key is None or node is None or rest:
            raise self._error("is not written here")
        if parent.flow_style:
            return self._remove_in_braces(parent, key, node)
        lines = self._text.splitlines(keepends=True)
        first, last = key.start_mark.line, _last_line(key, node)
        if len(parent.value) == 1:
            # An empty mapping is no mapping: the key above it would hold nothing.
            indent = lines[first][: key.start_mark.column]
            return "".join((*lines[:first], f"{indent}{{}}\n", *lines[last + 1 :]))
        return "".join((*lines[:first], *lines[last + 1 :]))

    def _find(
        self, root: yaml.MappingNode
    ) -> tuple[yaml.MappingNode, yaml.Node | None, yaml.Node | None, yaml.Node | None, Path]:
        """The mapping and the pair in it at the path, or as far as it is written; and the rest of the path."""
        parent, above = root, None
        for depth, name in enumerate(self._path):
            pair = next((p for p in parent.value if str(p[0].value) == str(name)), None)
            rest = self._path[depth + 1 :]
            if pair is None:
                return parent, above, None, None, rest
            key, node = pair
            if node.start_mark.index < key.end_mark.index or self._text[key.end_mark.index :].lstrip(
                ": \t"
            ).startswith(("*", "&")):
                raise self._error("is an alias or an anchor", key)
            if rest and not isinstance(node, yaml.MappingNode) and not node.tag.endswith(":null"):
                raise self._error(f"{name} is no mapping", key)
            if not rest or not isinstance(node, yaml.MappingNode):
                return parent, above, key, node, rest
            parent, above = node, key
        raise self._error("is no key")

    def _insert(self, parent: yaml.MappingNode, above: yaml.Node | None, key: str, value: Value) -> str:
        entry = f"{key}: {_scalar(value)}"
        if parent.flow_style:
            at = parent.start_mark.index + 1
            return self._text[:at] + entry + (", " if parent.value else "") + self._text[at:]
        first = parent.value[0][0].start_mark
        if above is None or above.end_mark.line == first.line:
            return self._text[: first.index] + f"{entry}\n{' ' * first.column}" + self._text[first.index :]
        # Right below the key that holds the mapping: a comment stays with the key that it stands above.
        lines = self._text.splitlines(keepends=True)
        at = above.end_mark.line + 1
        return "".join((*lines[:at], f"{' ' * first.column}{entry}\n", *lines[at:]))

    def _replace(self, key: yaml.Node, node: yaml.Node, value: Value) -> str:
        if isinstance(node, yaml.ScalarNode):
            start, end = node.start_mark.index, node.end_mark.index
            if start == end:  # nothing is written: right after the colon
                start = end = self._text.index(":", key.end_mark.index) + 1
                return f"{self._text[:start]} {_scalar(value)}{self._text[end:]}"
            if node.style in ("|", ">"):
                raise self._error("is a text of several lines", key)
            return self._text[:start] + _scalar(value) + self._text[end:]
        if getattr(node, "flow_style", False):
            return self._text[: node.start_mark.index] + _scalar(value) + self._text[node.end_mark.index :]
        raise self._error("is a mapping or a list of several lines", key)

    def _remove_in_braces(self, parent: yaml.MappingNode, key: yaml.Node, node: yaml.Node) -> str:
        pairs = parent.value
        at = next(number for number, pair in enumerate(pairs) if pair[0] is key)
        if at + 1 < len(pairs):
            return self._text[: key.start_mark.index] + self._text[pairs[at + 1][0].start_mark.index :]
        start = pairs[at - 1][1].end_mark.index if at else key.start_mark.index
        return self._text[:start] + self._text[node.end_mark.index :]

    def _error(self, what: str, key: yaml.Node | None = None) -> BadConfigError:
        line = key.start_mark.line + 1 if key else 1
        return BadConfigError(f"{self._origin}:{line}: {'.'.join(map(str, self._path))}: {what}: {CURE}")


def _last_line(key: yaml.Node, node: yaml.Node) -> int:
    """The last line with something of a value: its end mark lies behind the comments that follow."""
    if isinstance(node, yaml.ScalarNode) or getattr(node, "flow_style", False) or not node.value:
        is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        return int(max(key.end_mark.line, node.end_mark.line - is_block))
    last = node.value[-1]
    return _last_line(last[0], last[1]) if isinstance(last, tuple) else _last_line(last, last)

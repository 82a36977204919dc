"""YAML text with comments, written line by line: what a converted `aiges.toml` looks like. Knows no key."""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

WIDTH = 1 << 30
VARIABLE = re.compile(r"\$?\$\{[A-Za-z_][A-Za-z0-9_]*(?::-[^}]*)?\}")


def quoted(text: str) -> str:
    """One line that reads as exactly this text, `${NAME}` included."""
    escaped = VARIABLE.sub(lambda match: f"${match[0]}", text)
    return str(yaml.safe_dump(escaped, default_style='"', allow_unicode=True, width=WIDTH)).rstrip("\n")


def scalar(value: bool | int | str) -> str:
    """A value of ours."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else quoted(value)


class Page:
    """A document that grows."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def comment(self, text: str) -> None:
        """A line, or several, of its own."""
        self._lines += [f"# {_plain(line)}".rstrip() for line in text.splitlines()]

    def blank(self) -> None:
        """An empty line."""
        self._lines.append("")

    def section(self, depth: int, key: str) -> None:
        """A key with keys below it."""
        self._lines.append(f"{'  ' * depth}{key}:")

    def key(self, depth: int, key: str, value: str, comments: Iterable[str] = ()) -> None:
        """A key with its value, as YAML, and what is to be said of it."""
        said = "; ".join(map(_plain, comments))
        self._lines.append(f"{'  ' * depth}{key}: {value}" + (f"  # {said}" if said else ""))

    @property
    def text(self) -> str:
        """The whole document."""
        return "\n".join(self._lines) + "\n"


def _plain(text: str) -> str:
    """Without what no comment of YAML may hold."""
    return "".join(letter if letter.isprintable() else " " for letter in text)

"""Several documents as one: what is included lies below, and every value knows where it was written.

Knows documents by name, wherever they come from; refuses to know what the keys mean.
"""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loader.config.document import Document, parse_document
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from loader.config.document import Path, Value

INCLUDE = "include"
DEPTH = 8


def merge_documents(documents: Mapping[str, str], environment: Mapping[str, str]) -> Document:
    """The first document with everything that it includes.

    Raises: BadConfigError for a document that is missing, includes itself, or is no mapping of keys.
    """
    root = next(iter(documents))
    return _Merge(documents, environment).read(root, ())


class _Merge:
    def __init__(self, documents: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._documents = documents
        self._environment = environment

    def read(self, name: str, above: tuple[str, ...]) -> Document:
        """A document over what it includes. `above`: the documents that led here."""
        own = parse_document(self._documents[name], name, self._environment)
        included = own.values.pop(INCLUDE, None)
        if included is None:
            return own
        merged = Document(own.origin)
        for other in self._names(own, included):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), other))
            self._check(own, path, (*above, name))
            lay_over(merged, self.read(path, (*above, name)))
        lay_over(merged, own)
        return merged

    def _names(self, own: Document, included: Value) -> list[str]:
        names = [included] if isinstance(included, str) else included
        if not isinstance(names, list) or not all(isinstance(one, str) and one for one in names):
            where = own.place_of((INCLUDE,))
            raise BadConfigError(f"{where}: include is {included!r}: write a list of documents' names")
        return [str(one) for one in names]

    def _check(self, own: Document, path: str, above: tuple[str, ...]) -> None:
        where = own.place_of((INCLUDE,))
        if path in above:
            raise BadConfigError(f"{where}: include goes in a circle: {' → '.join((*above, path))}")
        if len(above) > DEPTH:
            raise BadConfigError(f"{where}: includes are nested deeper than {DEPTH}: {' → '.join(above)}")
        if path not in self._documents:
            known = ", ".join(sorted(self._documents))
            raise BadConfigError(f"{where}: the included document {path} does not exist: there are {known}")


def lay_over(below: Document, above: Document) -> None:
    """Mappings key by key; every other value replaces what was there."""
    _merge(below, above, below.values, above.values, ())


def _merge(
    below: Document, above: Document, under: dict[str, Value], over: Mapping[str, Value], path: Path
) -> None:
    for key, value in over.items():
        here = (*path, key)
        old = under.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(below, above, old, value, here)
            continue
        _forget(below, here)
        under[key] = copy.deepcopy(value)  # what is laid over this later must not change `above`
        for place in [p for p in above.lines if p[: len(here)] == here]:
            below.lines[place] = above.lines[place]
            below.origins[place] = above.origins.get(place, above.origin)
        below.texts |= {p: text for p, text in above.texts.items() if p[: len(here)] == here}
        below.secrets |= {p for p in above.secrets if p[: len(here)] == here}


def _forget(document: Document, path: Path) -> None:
    """What stood at and below a replaced key."""
    for place in [p for p in document.lines if p[: len(path)] == path]:
        del document.lines[place]
        document.origins.pop(place, None)
        document.texts.pop(place, None)
    document.secrets -= {p for p in document.secrets if p[: len(path)] == path}

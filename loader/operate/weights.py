"""The weights of an engine's versions: read from a configuration, changed in its text, shared out for a canary.

Pure functions on documents; refuses to know centers and nodes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loader.center import Document
from loader.config.edit import remove_key, set_key
from loader.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.config.document import Path, Value
    from loader.operate.site import Read, Site

MOST_WEIGHT = 10_000
PARTS = 100_000  # in thousandths of a percent: 0.5 is a step too


def weights_of(read: Read, engine: str) -> dict[str, int]:
    """The weight of each version. Raises: InvalidArgumentError for an engine that is not there."""
    found = {
        key.version: one.weight for key, one in read.effective.deployments.items() if key.engine == engine
    }
    if not found:
        names = ", ".join(dict.fromkeys(key.engine for key in read.effective.deployments))
        raise InvalidArgumentError(f"engine {engine} is not in the configuration: there are {names}")
    return found


def shared(before: Mapping[str, int], version: str, percent: float) -> dict[str, int]:
    """Weights that give `version` so many percent of new sessions; the others keep their proportions."""
    others = {name: weight for name, weight in before.items() if name != version}
    if percent >= 100:
        return {**dict.fromkeys(others, 0), version: before.get(version) or 100}
    total = sum(others.values())
    if total == 0:
        raise InvalidArgumentError(f"version {version} has all new sessions already: nothing to take from")
    part = round(percent / 100 * PARTS)
    rest = PARTS - part
    exact = {version: part * total, **{name: rest * weight for name, weight in others.items()}}
    # The sum of before where that is exact, so that 100 and 5 % become 95 and 5.
    is_whole = all(value % PARTS == 0 for value in exact.values())
    divisor = PARTS if is_whole else math.gcd(*exact.values())
    largest = max(exact.values()) // divisor
    scale = MOST_WEIGHT / largest if largest > MOST_WEIGHT else 1.0
    return {
        name: max(1, round(value // divisor * scale)) if value else 0
        for name, value in ((name, exact[name]) for name in (*others, version))
    }


def with_weights(site: Site, read: Read, engine: str, weights: Mapping[str, int]) -> list[Document]:
    """The documents that change when the versions of `engine` get these weights. Raises: BadConfigError."""
    texts = _Texts(site, read)
    known = weights_of(read, engine)
    for version, weight in weights.items():
        if version not in known:
            raise InvalidArgumentError(
                f"engine {engine} has no version {version}: there are {', '.join(known)}; "
                "a new one is added by `loader rollout … --wrapper`"
            )
        if known[version] != weight:
            texts.set((*_path(read, engine, version), "weight"), weight)
    return texts.changed()


def with_version(site: Site, read: Read, engine: str, version: str, wrapper: str) -> list[Document]:
    """The documents that change when a version with weight 0 comes beside the others of `engine`."""
    texts = _Texts(site, read)
    known = weights_of(read, engine)
    here: Path = ("engines", engine)
    added: dict[str, Value] = {"wrapper": wrapper, "weight": 0}
    if read.effective.service.engines[engine].versions:
        texts.set((*here, "versions", version), added)
        return texts.changed()
    # One version so far: it gets its name, and keeps every key of the engine.
    if (*here, "version") in read.document.lines:
        texts.remove((*here, "version"))
    texts.set((*here, "versions"), {next(iter(known)): {}, version: added})
    return texts.changed()


def without_version(site: Site, read: Read, engine: str, version: str) -> list[Document]:
    """The documents that change when a version goes."""
    texts = _Texts(site, read)
    texts.remove(("engines", engine, "versions", version))
    return texts.changed()


def _path(read: Read, engine: str, version: str) -> Path:
    has_versions = bool(read.effective.service.engines[engine].versions)
    return ("engines", engine, "versions", version) if has_versions else ("engines", engine)


class _Texts:
    """The texts of a revision, changed key by key in the documents where the keys are written."""

    def __init__(self, site: Site, read: Read) -> None:
        self._read = read
        self._names = {site.center.origin_of(one.name): one.name for one in read.revision.documents}
        self._before = {one.name: one.text for one in read.revision.documents}
        self._texts = dict(self._before)

    def set(self, path: Path, value: Value) -> None:
        name, origin = self._document_of(path)
        self._texts[name] = set_key(self._texts[name], origin, path, value)

    def remove(self, path: Path) -> None:
        name, origin = self._document_of(path)
        self._texts[name] = remove_key(self._texts[name], origin, path)

    def changed(self) -> list[Document]:
        return [Document(name, text) for name, text in self._texts.items() if text != self._before[name]]

    def _document_of(self, path: Path) -> tuple[str, str]:
        """The document in which a key is written, or else the nearest key above it."""
        origin = self._read.document.place_of(path).document
        return self._names.get(origin, self._read.revision.root.name), origin

"""The values of a center as text, and revisions made of documents: what every backend shares."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from loader.center.protocol import Acknowledgement, AckState, Document, HistoryEntry, Revision
from loader.errors import BadConfigError, LoaderError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

logger = logging.getLogger(__name__)

ROOT = "service.yaml"
HISTORY_KEPT = 100
SUFFIXES = (".yaml", ".yml")


class News:
    """What a watch yields: a revision unless it is the last one, a document's error once, any other error each time."""

    def __init__(self, known: str) -> None:
        self.known = known  # the last revision's name; empty after an error
        self._told = ""

    def takes(self, found: Revision | LoaderError) -> bool:
        """Whether to yield it."""
        if isinstance(found, LoaderError):
            is_told = isinstance(found, BadConfigError) and found.message == self._told
            self._told = found.message if isinstance(found, BadConfigError) else ""
            self.known = ""
            return not is_told
        self._told = ""
        is_new = found.name != self.known
        self.known = found.name
        return is_new


def is_document(name: str) -> bool:
    """Whether something of this name is a part of the configuration. Hidden ones are not: a ConfigMap keeps its past
    in them, and editors what is not written yet."""
    return name.endswith(SUFFIXES) and all(part and not part.startswith(".") for part in name.split("/"))


def revision_of(documents: Iterable[Document], root: str = ROOT) -> Revision | None:
    """The revision of these documents, the root first; None where there is no root."""
    by_name = {one.name: one for one in documents}
    if root not in by_name:
        return None
    others = sorted((one for name, one in by_name.items() if name != root), key=lambda one: one.name)
    return Revision((by_name[root], *others))


def with_changes(held: Revision | None, changes: Sequence[Document], root: str = ROOT) -> Revision:
    """The revision after a put; a document with an empty text is gone. The root must be among the rest."""
    by_name = {one.name: one for one in (held.documents if held else ())}
    for one in changes:
        if one.name != root and not is_document(one.name):
            raise BadConfigError(
                f"{one.name}: is no document's name: it is hidden, outside of the center, or does not end "
                f"in {' or '.join(SUFFIXES)}"
            )
        if one.text:
            by_name[one.name] = one
        else:
            by_name.pop(one.name, None)
    found = revision_of(by_name.values(), root)
    if found is None:
        raise BadConfigError(f"{root}: is the root of the configuration and cannot be missing: put it too")
    return found


def acknowledgement_text(acknowledgement: Acknowledgement) -> str:
    """As JSON."""
    return json.dumps({**asdict(acknowledgement), "state": acknowledgement.state.value})


def acknowledgement_from(text: str) -> Acknowledgement | None:
    """None for what is not one: other programs may write here. Keys of later versions are ignored."""
    try:
        values = json.loads(text)
        known = {name: values[name] for name in Acknowledgement.__dataclass_fields__ if name in values}
        for name, value in known.items():
            if not isinstance(value, (int, float) if name.endswith("_s") else str):
                raise TypeError(f"{name} is {value!r}")
        return Acknowledgement(**{**known, "state": AckState(values["state"])})
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("not an acknowledgement", extra={"error": str(error)})
        return None


def history_text(revision: Revision, author: str, message: str) -> str:
    """As JSON, with the time now."""
    documents = [[one.name, one.text] for one in revision.documents]
    return json.dumps({"documents": documents, "time_s": time.time(), "author": author, "message": message})


def history_from(text: str) -> HistoryEntry | None:
    """None for what is not one."""
    try:
        values = json.loads(text)
        revision = Revision(tuple(Document(str(name), str(body)) for name, body in values["documents"]))
        return HistoryEntry(revision, float(values["time_s"]), str(values["author"]), str(values["message"]))
    except (ValueError, TypeError, KeyError) as error:
        logger.warning("not an entry of the history", extra={"error": str(error)})
        return None

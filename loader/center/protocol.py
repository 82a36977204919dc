"""What every config center offers: documents with revisions, acknowledgements of nodes, history.

Values and the one protocol; refuses to know configuration keys and any backend.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from loader.errors import LoaderError

DIGEST_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the configuration under its name in the center."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Revision:
    """All documents of one configuration, the root first. Its name depends on their names and texts only."""

    documents: tuple[Document, ...]

    @property
    def name(self) -> str:
        """The same on every node and in every backend."""
        digest = hashlib.sha256()
        for document in sorted(self.documents, key=lambda d: d.name):
            for part in (document.name.encode(), document.text.encode()):
                digest.update(len(part).to_bytes(8, "big"))
                digest.update(part)
        return digest.hexdigest()[:DIGEST_CHARACTERS]

    @property
    def root(self) -> Document:
        """The document that includes the others."""
        return self.documents[0]


class AckState(Enum):
    """What became of a revision on one node."""

    APPLYING = "applying"
    APPLIED = "applied"
    REFUSED = "refused"  # not valid, or not possible; the old one serves
    ROLLED_BACK = "rolled_back"  # it failed on the way, or a newer one came first; the old one serves
    STALE = "stale"  # the center is out of reach; the last good one serves


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What one node says of one revision."""

    node: str
    revision: str
    state: AckState
    error: str = ""  # with document, line and key; empty: none
    serving: str = ""  # the revision that serves; empty: none yet
    duration_s: float = 0.0
    time_s: float = 0.0  # seconds since the epoch
    address: str = ""  # at which the node is announced; empty: nowhere


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One revision that was once the newest."""

    revision: Revision
    time_s: float  # seconds since the epoch
    author: str  # who put it, or the node that first saw it
    message: str = ""


class Center(Protocol):
    """One service's configuration. Every call is bounded in time and may raise CenterUnreachableError."""

    @property
    def url(self) -> str:
        """As given, without secrets."""

    def origin_of(self, name: str) -> str:
        """Where a document is, for people: a path, or a key with its server."""

    async def load(self) -> Revision:
        """What it holds now. Raises: BadConfigError where there is no root document or it is not text."""

    def watch(self, known: str) -> AsyncGenerator[Revision | LoaderError, None]:
        """Each further revision after the one named `known`, without end; closing the iterator ends it.

        A LoaderError is yielded, not raised: once when the center goes out of reach or its documents cannot be
        read. It goes on by itself, and yields the current revision when the center is back, also an unchanged one.
        """

    async def put(
        self, documents: Sequence[Document], expected: str, author: str, message: str = ""
    ) -> Revision:
        """Replaces the named documents (an empty text deletes one) and records the history.

        Raises: ConflictError where the center holds another revision than `expected`.
        """

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Replaces what the node said before."""

    async def acknowledgements(self) -> list[Acknowledgement]:
        """What each node said last, by node."""

    async def forget(self, node: str) -> None:
        """What the node said is gone, until it says something again."""

    async def history(self) -> list[HistoryEntry]:
        """Newest first; bounded."""

    async def record(self, revision: Revision, author: str) -> None:
        """Adds a revision that came without `put` to the history; nothing where it is there already."""

    async def close(self) -> None:
        """Ends its connections and watches."""

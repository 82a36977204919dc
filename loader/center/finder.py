"""A file in AIGES's finder as a config center: an `aiges.toml`, converted, or a document of ours.

Followed in ZooKeeper, gray groups included; what became of a push is told to the companion. What is put there, and
what once was, is the business of the finder's console. Knows the layout; refuses to know how a file is converted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loader.center.protocol import AckState, Document, Revision
from loader.center.values import News, is_document
from loader.compat.aiges_toml.convert import convert
from loader.compat.aiges_toml.place import HEADER_FILE, Place, parse_toml
from loader.compat.aiges_toml.tell import Teller
from loader.compat.finder.companion import Feedback
from loader.compat.finder.layout import Content, gray_groups, is_name, unframed
from loader.compat.finder.link import FinderLink
from loader.compat.finder.location import FinderLocation
from loader.compat.finder.whereabouts import Consumer, consumer
from loader.errors import BadConfigError, CenterUnreachableError, LoaderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from loader.center.protocol import Acknowledgement, HistoryEntry

logger = logging.getLogger(__name__)

OUTCOMES = {AckState.APPLIED: True, AckState.REFUSED: False, AckState.ROLLED_BACK: False}
MOST_PUSHES = 16  # remembered, for acknowledgements that come late


@dataclass(frozen=True, slots=True)
class Push:
    """What a console put where this consumer reads."""

    push_id: str
    folder: str  # of the file
    group: str  # gray; empty: none
    seen_s: float = 0.0

    def is_same(self, other: Push | None) -> bool:
        """Whenever they were seen."""
        return other is not None and replace(self, seen_s=0.0) == replace(other, seen_s=0.0)


class FinderCenter:
    """The configuration of one service in a finder."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url
        self._at = FinderLocation.parse(url)
        self._link = FinderLink(self._at, CenterUnreachableError, cache)
        self._teller = Teller()
        self._consumer = Consumer("", "")
        self._consumes = ""  # the node that says that we do
        self._unseen = ""  # why there is none
        self._pushes: dict[str, Push] = {}  # by revision
        self._bad: Push | None = None  # what is there now and cannot be read
        self._acknowledged: Acknowledgement | None = None
        self._origin = self._at.file

    def origin_of(self, name: str) -> str:  # noqa: ARG002 - there is one
        """The node; lines of an aiges.toml are those of what `loader import-aiges` writes."""
        return self._origin if is_document(self._at.file) else f"{self._origin} as YAML"

    async def load(self) -> Revision:
        """The file now. Raises: BadConfigError, CenterUnreachableError."""
        return (await self._read())[0]

    async def watch(self, known: str) -> AsyncGenerator[Revision | LoaderError, None]:
        """As Center.watch; this process is seen as a consumer meanwhile."""
        news = News(known)
        async with contextlib.aclosing(self._link.follow(self._look)) as looks:
            async for found in looks:
                if news.takes(found):
                    yield found

    async def put(
        self,
        documents: Sequence[Document],  # noqa: ARG002
        expected: str,  # noqa: ARG002
        author: str,  # noqa: ARG002
        message: str = "",  # noqa: ARG002
    ) -> Revision:
        """Never. Raises: BadConfigError."""
        raise BadConfigError(f"{self.url}: is not written from here: push it with the finder's console")

    async def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Tells the companion what became of a push: loaded, or not."""
        self._acknowledged = acknowledgement
        is_of_bad = acknowledgement.state is AckState.REFUSED and (
            acknowledgement.revision == acknowledgement.serving
        )
        push = self._bad if is_of_bad else self._pushes.get(acknowledgement.revision)
        if push is not None and acknowledgement.state in OUTCOMES:
            await self._tell(push, acknowledgement)

    async def acknowledgements(self) -> list[Acknowledgement]:
        """None: what nodes said is in the finder's console."""
        return []

    async def forget(self, node: str) -> None:
        """Nothing: as acknowledgements()."""

    async def history(self) -> list[HistoryEntry]:
        """Never. Raises: BadConfigError."""
        raise BadConfigError(f"{self.url}: keeps no history here: it is in the finder's console")

    async def record(self, revision: Revision, author: str) -> None:
        """Nothing: a push is recorded by who pushes."""

    async def close(self) -> None:
        """As Center.close; the consumer is gone with the session."""
        await self._link.close()

    # ---- reading

    async def _look(self) -> Revision:
        """What a watch sees."""
        before = dict(self._pushes)
        revision, push = await self._read()
        try:
            await self._register(push)
        except CenterUnreachableError as error:  # it may read and not write there: the configuration counts
            if error.message != self._unseen:
                logger.warning("not seen as a consumer", extra={"error": error.message})
            self._unseen = error.message
        said = self._acknowledged
        if said is not None and said.revision == revision.name and said.state is AckState.APPLIED:
            known = before.get(revision.name)
            if known is not None and not push.is_same(known):  # the same text, pushed again: nothing to apply
                with contextlib.suppress(LoaderError):
                    await self._tell(push, said)
        return revision

    async def _read(self) -> tuple[Revision, Push]:
        """The file for this consumer, and the push that brought it."""
        root = (await self._link.storage()).config_path
        if not root:
            raise BadConfigError(
                f"{self.url}: the companion names no config_path: create the service in the finder's console"
            )
        groups = await self._gray_groups(f"{root}/gray")
        try:
            usual: tuple[str, Push] | BadConfigError = await self._file(Push("", root, ""))
        except BadConfigError as error:
            usual = error
        text = "" if isinstance(usual, BadConfigError) else usual[0]
        self._consumer = await asyncio.to_thread(consumer, self._at.companion, text)
        group = next((groups[name] for name in self._consumer.names if name in groups), "")
        found = await self._file(Push("", f"{root}/gray/{group}", group)) if group else usual
        if isinstance(found, BadConfigError):
            raise found
        self._bad = None
        text, push = found
        self._origin = f"{push.folder}/{self._at.file}"
        revision = Revision((Document(self._at.file, text),))
        return revision, self._note(revision.name, push)

    async def _gray_groups(self, path: str) -> dict[str, str]:
        node = await self._link.get(path)
        try:
            return gray_groups(node.data) if node is not None else {}
        except ValueError as error:
            raise BadConfigError(
                f"{path}: {error}: correct the gray groups in the finder's console"
            ) from None

    async def _file(self, push: Push) -> tuple[str, Push]:
        """The file of a folder as a configuration of ours. Raises: BadConfigError."""
        path = f"{push.folder}/{self._at.file}"
        node = await self._link.get(path)
        self._bad = push if node is not None else None
        if node is None:
            raise BadConfigError(f"{self.url}: has no {path}: push the file with the finder's console")
        content = _content(path, node.data)
        self._bad = push = replace(push, push_id=content.push_id)
        text = _text(path, content.data)
        if not is_document(self._at.file):
            text = await self._converted(text, path, push.folder)
        return text, push

    async def _converted(self, text: str, path: str, folder: str) -> str:
        files = {}
        for name in _named_in(text, path):
            node = await self._link.get(f"{folder}/{name}")
            if node is not None:
                where = f"{folder}/{name}"
                files[name] = _text(where, _content(where, node.data).data)
        place = Place(Path.cwd(), Path.cwd(), os.environ, files, self._at.url)
        found = await asyncio.to_thread(convert, text, path, self._at.service, place)
        self._teller.tell(found.notes)
        return found.text

    # ---- what the finder hears of us

    def _note(self, revision: str, push: Push) -> Push:
        known = self._pushes.pop(revision, None)
        kept = known if known is not None and push.is_same(known) else replace(push, seen_s=time.time())
        self._pushes[revision] = kept
        while len(self._pushes) > MOST_PUSHES:
            del self._pushes[next(iter(self._pushes))]
        return kept

    async def _register(self, push: Push) -> None:
        """As a consumer of the usual file, or of a gray group's."""
        root = push.folder.removesuffix(f"/gray/{push.group}") if push.group else push.folder
        kind = f"gray/{push.group}" if push.group else "normal"
        path = f"{root}/consumer/{kind}/{self._consumer.address}"
        if self._consumes not in ("", path):
            await self._link.release(self._consumes)
        self._consumes = path
        await self._link.join(path)  # others on this machine may have the same address

    async def _tell(self, push: Push, said: Acknowledgement) -> None:
        feedback = Feedback(
            push.push_id,
            self._consumer.address,
            push.group,
            push.seen_s or said.time_s,
            said.time_s,
            OUTCOMES[said.state],
        )
        await self._link.companion.tell(feedback)


def _content(path: str, data: bytes) -> Content:
    try:
        return unframed(data)
    except ValueError as error:
        raise BadConfigError(f"{path}: {error}: push it again with the finder's console") from None


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _named_in(text: str, path: str) -> list[str]:
    """Files beside an aiges.toml that belong to it."""
    section = parse_toml(text, path).get("aiges")
    name = section.get("usrCfg") if isinstance(section, dict) else None
    return [HEADER_FILE, *([name.strip()] if isinstance(name, str) and is_name(name.strip()) else [])]

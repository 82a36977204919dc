"""The embedded config center: one file, watched; its revision is a digest of its bytes.

Knows files and no configuration keys. Survives editors that replace the file and ConfigMaps that swap links.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import BadConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logger = logging.getLogger(__name__)

DEBOUNCE_MS = 50
LOOK_MS = 1_000


@dataclass(frozen=True, slots=True)
class Revision:
    """One text of the configuration."""

    name: str
    text: str


class FileCenter:
    """The configuration in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._current = ""

    def load(self) -> Revision:
        """What the file says now. Raises: BadConfigError when it cannot be read."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise BadConfigError(f"{self.path}: cannot be read: {error.strerror}: check --config") from None
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise BadConfigError(
                f"{self.path}: is not UTF-8 text: {error.reason} at byte {error.start}"
            ) from None
        self._current = hashlib.sha256(data).hexdigest()[:12]
        return Revision(self._current, text)

    async def watch(self, stop: asyncio.Event) -> AsyncIterator[Revision]:
        """Each further revision, until `stop` is set. A file that is gone for a moment is waited for."""
        # The folder is watched, not the file: the file's inode changes with most ways of writing it.
        from watchfiles import awatch

        folder = self.path.absolute().parent
        before = self._current
        # A look each second, too: a change between load() and the first watch would not be told.
        changes = awatch(
            folder,
            stop_event=stop,
            debounce=DEBOUNCE_MS,
            step=DEBOUNCE_MS,
            recursive=False,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
        )
        async for _ in changes:
            try:
                revision = self.load()
            except BadConfigError as error:
                if before:
                    logger.warning(
                        "configuration unreadable", extra={"file": str(self.path), "error": str(error)}
                    )
                before = ""  # once; and the same text again is news after that
                continue
            if revision.name != before:
                before = revision.name
                yield revision

    def acknowledge(self, revision: str, state: str, error: str = "") -> None:
        """Says what became of a revision: a file has no place to write it to but the log."""
        level = logging.WARNING if error else logging.INFO
        fields = {"file": str(self.path), "revision": revision, "state": state, "error": error}
        logger.log(level, "configuration acknowledged", extra=fields)

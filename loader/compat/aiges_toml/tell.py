"""What became of the keys of an `aiges.toml`, in the log: each once, however often the file is read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from loader.compat.aiges_toml.convert import UNKNOWN
from loader.compat.aiges_toml.keys import UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.compat.aiges_toml.convert import Note

logger = logging.getLogger(__name__)


class Teller:
    """Remembers what it has told."""

    def __init__(self) -> None:
        self._told: set[Note] = set()

    def tell(self, notes: Sequence[Note]) -> None:
        """Those that are new."""
        for note in notes:
            if note not in self._told:
                self._told.add(note)
                level = logging.WARNING if note.kind in (UNKNOWN, UNSUPPORTED) else logging.INFO
                logger.log(
                    level, "aiges.toml", extra={"key": note.key, "is": note.kind, "because": note.text}
                )

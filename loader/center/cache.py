"""The last good revision on disk, for a start while the center is out of reach.

Whole or not there: its name is the digest of what it holds. Knows no center.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from pathlib import Path

from loader.center.protocol import Document, Revision

logger = logging.getLogger(__name__)


class RevisionCache:
    """The last good revision of one center."""

    def __init__(self, folder: Path, center: str) -> None:
        self._center = center
        name = hashlib.sha256(center.encode()).hexdigest()[:16]
        self.path = folder / f"{name}.json"

    def load(self) -> Revision | None:
        """None where there is none, or where it is damaged."""
        try:
            values = json.loads(self.path.read_text())
            documents = tuple(Document(str(name), str(text)) for name, text in values["documents"])
            revision = Revision(documents)
            if not documents or values["revision"] != revision.name or values["center"] != self._center:
                raise ValueError("it does not hold what its name says")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning(
                "the cache is damaged: not used", extra={"file": str(self.path), "error": str(error)}
            )
            return None
        return revision

    def save(self, revision: Revision) -> None:
        """Replaces what was there; a disk that is full only costs the next start without a center."""
        documents = [[one.name, one.text] for one in revision.documents]
        values = {"center": self._center, "revision": revision.name, "documents": documents}
        beside = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The configuration may hold what is not for everybody's eyes.
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(values, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
        except OSError as error:
            logger.warning("the cache cannot be written", extra={"file": str(self.path), "error": str(error)})
            with contextlib.suppress(OSError):  # where not even its folder can be
                beside.unlink()

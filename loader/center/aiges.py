"""An `aiges.toml` as a config center: read, converted and watched as a file of ours; never written.

Knows that it is converted; refuses to know how.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from loader.center.file import FileCenter
from loader.center.protocol import Document, Revision
from loader.compat.aiges_toml.convert import convert
from loader.compat.aiges_toml.place import Place, read_text
from loader.compat.aiges_toml.tell import Teller
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "aiges:"


class AigesCenter(FileCenter):
    """The service that an URL `aiges:PATH[#SERVICE]` names."""

    def __init__(self, url: str) -> None:
        named = url.removeprefix(PREFIX)
        path, _, self._service = named.rpartition("#") if "#" in named else (named, "", "")
        super().__init__(f"file:{path}")
        self.url = url
        self._place = Place(self._folder, Path.cwd(), os.environ)
        self._teller = Teller()

    def origin_of(self, name: str) -> str:
        """The file; lines are those of what `loader import-aiges` writes."""
        return f"{self._folder / name} as YAML"

    async def put(
        self,
        documents: Sequence[Document],  # noqa: ARG002
        expected: str,  # noqa: ARG002
        author: str,  # noqa: ARG002
        message: str = "",  # noqa: ARG002
    ) -> Revision:
        """Never. Raises: BadConfigError."""
        raise BadConfigError(
            f"{self.url}: is not written: edit the file, or begin with `loader import-aiges`"
        )

    def _load(self) -> Revision:
        found = convert(read_text(self._path), str(self._path), self._service, self._place)
        self._teller.tell(found.notes)
        return Revision((Document(self._root, found.text),))

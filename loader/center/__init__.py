"""Where the service's configuration lives: files, Consul, or AIGES's finder. One protocol: load, watch, put,
acknowledge, history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.center.cache import RevisionCache
from loader.center.protocol import (
    Acknowledgement,
    AckState,
    Center,
    Document,
    HistoryEntry,
    Revision,
)

if TYPE_CHECKING:
    from pathlib import Path

    from loader.consul_link import ConsulAccess

__all__ = [
    "AckState",
    "Acknowledgement",
    "Center",
    "Document",
    "HistoryEntry",
    "Revision",
    "RevisionCache",
    "open_center",
]


def open_center(url: str, access: ConsulAccess, cache: Path | None = None) -> Center:
    """The center at an URL: `file:PATH`, `aiges:PATH#SERVICE`, `consul://HOST:PORT/PREFIX`, `finder:http://…`.

    A folder `cache` keeps what a finder's companion said. Raises: BadConfigError.
    """
    if url.startswith("file:"):
        from loader.center.file import FileCenter

        return FileCenter(url)
    if url.startswith("aiges:"):
        from loader.center.aiges import AigesCenter

        return AigesCenter(url)
    if url.startswith("finder:"):
        from loader.center.finder import FinderCenter

        return FinderCenter(url, cache)
    from loader.center.consul import ConsulCenter

    return ConsulCenter(url, access)

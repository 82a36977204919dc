"""The TLS files of a port: loaded at the start, and again for new connections when they are replaced.

Knows where the files are and when they change; what is in them is for whoever listens.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.errors import BadConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from loader._core import Tls

logger = logging.getLogger(__name__)

PERIOD_S = 1.0

Marks = tuple[tuple[int, int, int, int] | None, ...]


def is_reached_from_outside(address: str) -> bool:
    """Whether others than this machine may connect: neither loopback nor a socket file."""
    if address.startswith("unix:"):
        return False
    host = address.rpartition(":")[0].strip("[]")
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


def load_tls(values: dict[str, Any]) -> Tls:
    """What the files of a section `tls` hold now. Raises: BadConfigError naming the file at fault."""
    from loader._core import Tls

    try:
        return Tls(values)
    except RuntimeError as error:
        raise BadConfigError(f"tls: {error}") from None


class Certificates:
    """Files that are used together. Make it before they are first loaded."""

    def __init__(self, files: Iterable[str | Path], take: Callable[[], None]) -> None:
        """`take` loads them for new connections. Raises: BadConfigError where they do not go together."""
        self._files = [Path(file) for file in files if file]
        self._take = take
        self._marks = self._look()

    async def watch(self) -> None:
        """Looks at the files for ever. Polls: secrets are mounted behind links that no folder watch tells of."""
        while True:
            await asyncio.sleep(PERIOD_S)  # a sampling period, not a wait for something
            self.renew()

    def renew(self) -> None:
        """Takes the files if one of them has changed. Where they do not go together, the old ones stay."""
        marks = self._look()
        if marks == self._marks:
            return
        self._marks = marks
        fields = {"files": [str(file) for file in self._files]}
        try:
            self._take()
        except BadConfigError as error:
            logger.error("certificates refused: the old ones stay", extra={**fields, "error": str(error)})
        else:
            logger.info("certificates replaced", extra=fields)

    def _look(self) -> Marks:
        return tuple(map(_mark, self._files))


def _mark(file: Path) -> tuple[int, int, int, int] | None:
    """What differs after any way of writing a file; links are followed."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

"""The URL of a service in a finder: `finder:http://COMPANION:6868/PROJECT/GROUP/SERVICE[/VERSION][#FILE]`.

Pure; asks nobody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from loader.compat.finder.layout import is_name
from loader.errors import BadConfigError

PREFIX: Final = "finder:"
DEFAULT_FILE: Final = "aiges.toml"
NO_VERSION: Final = "def"  # what a finder asks for where it is told none
URL: Final = re.compile(
    r"^finder:(?P<companion>https?://[^/?#@\s]+)/(?P<path>[^?#\s]+?)/?(?:#(?P<file>[^\s]*))?$"
)
FORM: Final = "finder:http://COMPANION:6868/PROJECT/GROUP/SERVICE/VERSION"


@dataclass(frozen=True, slots=True)
class FinderLocation:
    """An URL in parts."""

    companion: str  # http://HOST:PORT
    project: str
    group: str
    service: str
    version: str = NO_VERSION
    file: str = DEFAULT_FILE

    @classmethod
    def parse(cls, url: str) -> FinderLocation:
        """Raises: BadConfigError."""
        match = URL.match(url)
        if match is None:
            raise BadConfigError(f"{url}: is no service of a finder: write {FORM}")
        parts = [unquote(part) for part in match["path"].split("/")]
        file = unquote(match["file"] or DEFAULT_FILE)
        if len(parts) not in (3, 4):
            raise BadConfigError(
                f"{url}: has {len(parts)} names behind the companion: write {FORM}; the version may be left out"
            )
        for name in (*parts, file):
            _check_name(url, name)
        project, group, service, version = (*parts, NO_VERSION)[:4]
        return cls(match["companion"], project, group, service, version, file)

    @property
    def url(self) -> str:
        """The whole, which parse() takes."""
        path = "/".join(quote(one, safe="") for one in (self.project, self.group, self.service, self.version))
        return f"{PREFIX}{self.companion}/{path}#{quote(self.file, safe='')}"


def _check_name(url: str, name: str) -> None:
    if not is_name(name):
        raise BadConfigError(f"{url}: {name!r} is no name: write {FORM}")

"""What an AIGES start takes from the machine: its environment, the files around `aiges.toml`, its network cards.

Finds and reads; decides nothing about keys.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loader.errors import BadConfigError

PLUGIN_MODE = "AIGES_PLUGIN_MODE"
NUMA = "AIGES_ENV_NUMA"
WRAPPER_VERSION = "AIGES_WRAPPER_VERSION"
HEADER_FILE = "headerPass.wrapper"
GET_ADDRESS = 0x8915  # SIOCGIFADDR
CARD_BYTES = 15


@dataclass(frozen=True, slots=True)
class Place:
    """Where a start happens."""

    folder: Path  # of aiges.toml
    current: Path
    environment: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)  # of a config center: they come before those here
    finder: str = ""  # the URL of the finder that the file is from; empty: none

    @property
    def is_python(self) -> bool:
        """The wrapper is a wrapper.py. Raises: BadConfigError."""
        mode = self.environment.get(PLUGIN_MODE) or "c"
        if mode not in ("c", "python"):
            raise BadConfigError(f"{PLUGIN_MODE} is {mode!r}: write c or python")
        return mode == "python"

    def find(self, name: str, variable: str) -> Path | None:
        """A file as AIGES's process would find it: by the variable's folders, then in the current folder."""
        return next((path for path in self._candidates(name, variable) if path.is_file()), None)

    def _candidates(self, name: str, variable: str) -> Iterator[Path]:
        folders = [self.current / one for one in self.environment.get(variable, "").split(":") if one]
        near = [self.current, self.folder]
        yield from (
            Path(os.path.normpath(one / name))
            for one in ([*near, *folders] if name.endswith(".py") else [*folders, *near])
        )

    def text_of(self, name: str) -> str | None:
        """A file that the configuration names; None where there is none. Raises: BadConfigError."""
        if name in self.files:
            return self.files[name]
        for folder in (self.current, self.folder):
            if (folder / name).is_file():
                return read_text(folder / name)
        return None


def read_text(path: Path) -> str:
    """Raises: BadConfigError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadConfigError(f"{path}: cannot be read: {error.strerror}: check its path and mode") from None
    except UnicodeDecodeError as error:
        raise BadConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from None


def parse_toml(text: str, origin: str) -> dict[str, Any]:
    """Raises: BadConfigError with line and column."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise BadConfigError(f"{origin}: not valid TOML: {error}") from None


def address_of_card(name: str) -> str | None:
    """The IPv4 address of a network card; None where there is none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            answer = fcntl.ioctl(asking, GET_ADDRESS, struct.pack("256s", name.encode()[:CARD_BYTES]))
    except OSError:
        return None
    return socket.inet_ntoa(answer[20:24])

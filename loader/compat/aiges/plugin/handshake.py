"""The line by which a plug-in says where it listens: CORE|APP|NETWORK|ADDRESS|PROTOCOL[|CERTIFICATE].

The protocol is that of hashicorp's go-plugin. Text in, an address out; reads nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

COOKIE: Final = ("BASIC_PLUGIN", "hello")
VERSION: Final = "1"  # of go-plugin's own protocol, and of AIGES's
SHOWN: Final = 200  # characters of a line that is wrong

_LOOKS_LIKE_ONE: Final = re.compile(r"^\s*\d+\|")


class CommandError(Exception):
    """The command does not serve: the text says what it did, and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a plug-in listens."""

    target: str  # as gRPC takes it
    port: int = 0  # 0: not TCP

    def __str__(self) -> str:
        return self.target


def environment() -> dict[str, str]:
    """What a plug-in wants to find in its environment."""
    name, value = COOKIE
    return {
        name: value,
        "PLUGIN_PROTOCOL_VERSIONS": VERSION,
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
    }


def is_handshake(line: str) -> bool:
    """It is meant to be one; what a wrapper prints while it is imported comes before it."""
    return _LOOKS_LIKE_ONE.match(line) is not None


def parse(line: str) -> Address:
    """The address in a handshake line. Raises: CommandError."""
    parts = line.strip().split("|")
    shown = line.strip()[:SHOWN]
    if len(parts) < 4:
        raise CommandError(f"its handshake line is {shown!r}: CORE|APP|NETWORK|ADDRESS|PROTOCOL is expected")
    core, app, network, address = parts[:4]
    if core != VERSION or app != VERSION:
        raise CommandError(
            f"it speaks version {core} of go-plugin and version {app} of AIGES's protocol, and {VERSION} of both is "
            f"known here: {shown!r}"
        )
    protocol = parts[4] if len(parts) > 4 else "netrpc"
    if protocol != "grpc":
        raise CommandError(f"it speaks {protocol or 'netrpc'}, not grpc: {shown!r}")
    if len(parts) > 5 and parts[5]:
        raise CommandError(f"it wants TLS, which it was not asked for: turn that off: {shown!r}")
    return _address(network, address, shown)


def _address(network: str, address: str, shown: str) -> Address:
    if network == "unix" and address:
        return Address(f"unix:{address}")
    _, colon, port = address.rpartition(":")
    if network == "tcp" and colon and port.isascii() and port.isdigit() and 0 < int(port[:9]) <= 0xFFFF:
        return Address(address, int(port))
    raise CommandError(
        f"its handshake line names no address: {shown!r}: tcp|HOST:PORT or unix|PATH is expected"
    )

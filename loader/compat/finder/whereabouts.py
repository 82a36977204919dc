"""Which consumer of a finder this machine is: the address that faces the companion, with the port where it is known.

A console names consumers so in its gray groups. Looks at the machine's routes; sends nothing.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

import yaml

ANY = ("", "0.0.0.0", "::")  # noqa: S104 - compared, not bound
PROBE_PORT = 9
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Consumer:
    """One process that reads a configuration."""

    ip: str
    address: str  # IP:PORT; the IP alone where the port is any free one

    @property
    def names(self) -> tuple[str, str]:
        """What a gray group may call it: AIGES knows consumers by their IP."""
        return self.address, self.ip


def consumer(companion: str, configuration: str) -> Consumer:
    """The one that a configuration, as YAML, makes of this machine. Blocks while names are looked up."""
    ip = facing(companion)
    host, port = _grpc_of(configuration)
    if host not in ANY:
        ip = _numbers_of(host) or ip
    return Consumer(ip, f"{ip}:{port}" if port not in ("", "0") else ip)


def facing(companion: str) -> str:
    """The address with which this machine reaches the companion; loopback where no route leads there."""
    host = urlsplit(companion).hostname or LOOPBACK
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect((host, PROBE_PORT))
            return str(sender.getsockname()[0])
        except (OSError, UnicodeError):
            return LOOPBACK


def _grpc_of(configuration: str) -> tuple[str, str]:
    try:
        values = yaml.safe_load(configuration)
        host, _, port = str(values.get("grpc") or "").rpartition(":")
    except (yaml.YAMLError, AttributeError, ValueError, RecursionError):
        return "", ""
    return host.strip("[]"), port if port.isdigit() else ""


def _numbers_of(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError):
        return ""

"""The IPv4 address that an AIGES session handle carries: clients of AIGES read it there and dial it."""

from __future__ import annotations

import contextlib
import socket

from loader.errors import BadConfigError
from loader.registry.advertise import advertised

LOOPBACK = "127.0.0.1"


def dialable(wanted: str | None, bound: str) -> str:
    """IPv4:PORT under which clients reach the gRPC port.

    `wanted` is the key `advertise`, `bound` the address that was bound. Loopback where there is no IPv4 address to
    tell: then only clients on this machine can go on with a session.
    """
    address = bound
    with contextlib.suppress(BadConfigError):
        address = advertised(wanted, bound)
    host, _, port = address.rpartition(":")
    if bound.startswith("unix:") and not wanted:
        return f"{LOOPBACK}:0"
    return f"{_ipv4_of(host.strip('[]'))}:{port}"


def _ipv4_of(host: str) -> str:
    try:
        found = str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return LOOPBACK
    return LOOPBACK if found == "0.0.0.0" else found  # noqa: S104 - compared, not bound

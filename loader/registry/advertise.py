"""The address under which others reach this node: what is written, or what can be derived without guessing."""

from __future__ import annotations

import ipaddress
import socket

from loader.errors import BadConfigError

ANY = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
PROBE = ("192.0.2.1", 9)  # RFC 5737: documentation only; nothing is sent, the kernel just picks a route


def advertised(wanted: str | None, bound: str) -> str:
    """HOST:PORT for the registry.

    `wanted` is the key `advertise`; its port 0 means the bound one. Otherwise the address that was bound, and behind
    0.0.0.0 the one with which this machine reaches others. A loopback address is told as it is: only others on this
    machine can use it, and whoever bound it said so. Raises: BadConfigError where there is nothing to tell.
    """
    host, _, port = bound.rpartition(":")
    if wanted:
        name, _, given = wanted.rpartition(":")
        return f"{name}:{port if given == '0' else given}"
    if bound.startswith("unix:"):
        raise BadConfigError(f"grpc: {bound} cannot be announced: write `advertise: HOST:PORT`")
    if host.strip("[]") not in ANY:
        return bound
    return f"{_outward(host.strip('[]'))}:{port}"


def _outward(bound: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(PROBE)
            address = str(probe.getsockname()[0])
        except OSError:
            address = ""
    if not address or ipaddress.ip_address(address).is_loopback:
        raise BadConfigError(
            f"grpc: {bound} is every address of this machine, and none leads out: write `advertise: HOST:PORT`"
        )
    return address

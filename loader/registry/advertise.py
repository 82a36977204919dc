"""The address under which others reach this node: what is written, or what can be derived without guessing."""

from __future__ import annotations

import ipaddress
import socket

from loader.errors import BadConfigError

ANY = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
# Documentation only (RFC 5737, RFC 3849); nothing is sent, the kernel just picks a route.
PROBE = ("192.0.2.1", 9)
PROBE_6 = ("2001:db8::1", 9)


def advertised(wanted: str | None, bound: str) -> str:
    """HOST:PORT for the registry.

    `wanted` is the key `advertise`; its port 0 means the bound one. Otherwise the address that was bound, and behind
    0.0.0.0 the one with which this machine reaches others. A loopback address is told as it is, and the caller warns:
    only others on this machine can use it. Raises: BadConfigError where there is nothing to tell.
    """
    host, _, port = bound.rpartition(":")
    if wanted:
        name, _, given = wanted.rpartition(":")
        return f"{name}:{port if given == '0' else given}"
    if bound.startswith("unix:"):
        raise BadConfigError(f"grpc: {bound} cannot be announced: write `advertise: HOST:PORT`")
    if host.strip("[]") not in ANY:
        return bound
    return f"{_outward(host.strip('[]'), bound)}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine can use HOST:PORT."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _outward(host: str, bound: str) -> str:
    families = [(socket.AF_INET, PROBE)] + ([(socket.AF_INET6, PROBE_6)] if host == "::" else [])
    for family, probe in families:
        address = _source_of(family, probe)
        if address and not ipaddress.ip_address(address).is_loopback:
            return address if family == socket.AF_INET else f"[{address}]"
    raise BadConfigError(
        f"grpc: {bound} is every address of this machine, and none leads out: write `advertise: HOST:PORT`"
    )


def _source_of(family: int, probe: tuple[str, int]) -> str:
    """The address with which this machine would reach `probe`; empty where no route leads there."""
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(probe)
            return str(sender.getsockname()[0])
        except OSError:
            return ""

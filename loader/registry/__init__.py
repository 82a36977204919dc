"""Where loaders are announced for clients to find: a directory of leases, or Consul."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.registry.advertise import advertised, is_loopback
from loader.registry.announcer import Announcer
from loader.registry.protocol import EngineEntry, NodeEntry, Registry

if TYPE_CHECKING:
    from loader.consul_link import ConsulAccess

__all__ = ["Announcer", "EngineEntry", "NodeEntry", "Registry", "advertised", "is_loopback", "open_registry"]


def open_registry(url: str, access: ConsulAccess) -> Registry:
    """The registry at an URL: `file:DIRECTORY`, or `consul://HOST:PORT/PREFIX`, where the prefix's last part names
    the service.

    Raises: BadConfigError.
    """
    if url.startswith("file:"):
        from loader.registry.file import FileRegistry

        return FileRegistry(url)
    from loader.registry.consul import ConsulRegistry

    return ConsulRegistry(url, access)

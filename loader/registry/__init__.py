"""Where loaders are announced for clients to find: a directory of leases, Consul, or AIGES's finder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loader.registry.advertise import advertised, is_loopback
from loader.registry.announcer import Announcer
from loader.registry.protocol import EngineEntry, NodeEntry, Registry

if TYPE_CHECKING:
    from pathlib import Path

    from loader.consul_link import ConsulAccess

__all__ = ["Announcer", "EngineEntry", "NodeEntry", "Registry", "advertised", "is_loopback", "open_registry"]


def open_registry(url: str, access: ConsulAccess, cache: Path | None = None) -> Registry:
    """The registry at an URL: `file:DIRECTORY`; `consul://HOST:PORT/PREFIX`, where the prefix's last part names the
    service; `finder:http://COMPANION:6868/PROJECT/GROUP/SERVICE`.

    A folder `cache` keeps what a finder's companion said. Raises: BadConfigError.
    """
    if url.startswith("file:"):
        from loader.registry.file import FileRegistry

        return FileRegistry(url)
    if url.startswith("finder:"):
        from loader.registry.finder import FinderRegistry

        return FinderRegistry(url, cache)
    from loader.registry.consul import ConsulRegistry

    return ConsulRegistry(url, access)

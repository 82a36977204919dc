"""A registry in AIGES's finder: a provider for AIGES's clients, and beside it what loaders tell each other.

A provider's data belongs to the finder's console: it is written once. What changes, as the load, is in a node of its
own: AIGES's clients answer each change of a provider with a call. Knows the layout; refuses to know engines.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from loader.compat.finder.layout import API_VERSION, PROVIDER_DATA, is_name, is_valid_provider
from loader.compat.finder.link import SESSION_S, FinderLink
from loader.compat.finder.location import FinderLocation
from loader.errors import LoaderError, RegistryUnreachableError
from loader.registry.dialable import dialable
from loader.registry.values import changes, entry_from, entry_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from loader.registry.protocol import NodeEntry


class FinderRegistry:
    """The nodes of one service in a finder."""

    def __init__(self, url: str, cache: Path | None = None) -> None:
        self.url = url
        self.beat_s = SESSION_S / 3
        self._service = FinderLocation.parse(url).service
        self._link = FinderLink(FinderLocation.parse(url), RegistryUnreachableError, cache)
        self._announced: NodeEntry | None = None
        self._provider = ""

    async def announce(self, entry: NodeEntry) -> None:
        """As Registry.announce. AIGES's clients dial what they read: the address is told as numbers."""
        address = await asyncio.to_thread(dialable, entry.address, entry.address)
        self._announced = replace(entry, address=address)
        await self.beat()

    async def beat(self) -> None:
        """As Registry.beat: kazoo keeps the session alive; this sees that our nodes are there and this session's."""
        entry = self._announced
        if entry is None:
            return
        folder = await self._folder()
        provider = f"{folder}/provider/{entry.address}"
        if self._provider not in ("", provider):
            await self._link.release(self._provider)
        self._provider = provider
        await self._link.hold(provider, PROVIDER_DATA, is_ours=False)
        await self._link.hold(f"{folder}/loader/{entry.node}", entry_text(entry).encode())

    async def withdraw(self) -> None:
        """As Registry.withdraw."""
        if self._announced is None:
            return
        await self._link.release(self._provider)
        await self._link.release(f"{await self._folder()}/loader/{self._announced.node}")
        self._announced, self._provider = None, ""

    async def nodes(self) -> list[NodeEntry]:
        """As Registry.nodes: loaders whose provider is there and not disabled by a console."""
        folder = await self._folder()
        names = await self._link.children(f"{folder}/loader")
        found = await asyncio.gather(*(self._node(folder, name) for name in names))
        return sorted((one for one in found if one is not None), key=lambda one: one.node)

    def watch(self) -> AsyncGenerator[list[NodeEntry] | LoaderError, None]:
        """As Registry.watch."""
        return changes(self._link.follow(self.nodes))

    async def close(self) -> None:
        """As Registry.close: what is still announced is gone at once."""
        await self._link.close()

    # ---- inside

    async def _folder(self) -> str:
        return f"{(await self._link.storage()).service_path}/{self._service}/{API_VERSION}"

    async def _node(self, folder: str, name: str) -> NodeEntry | None:
        node = await self._link.get(f"{folder}/loader/{name}")
        entry = entry_from(node.data.decode(errors="replace")) if node is not None else None
        if entry is None or not is_name(entry.address):
            return None  # others may write there
        provider = await self._link.get(f"{folder}/provider/{entry.address}")
        return entry if provider is not None and is_valid_provider(provider.data) else None

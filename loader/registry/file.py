"""A registry in a directory: each node a file that it rewrites while it lives.

An entry expires when its file has not changed for a while by the watcher's own clock: nobody compares clocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import RegistryUnreachableError
from loader.registry.values import entry_from, entry_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from loader.errors import LoaderError
    from loader.registry.protocol import NodeEntry

TTL_S = 10.0
LOOK_S = 0.2
FORGET = 6  # leases, after which whoever looks removes the file of a dead node


class FileRegistry:
    """The nodes of one service in a directory."""

    def __init__(self, url: str, *, ttl_s: float = TTL_S) -> None:
        self.url = url
        self.beat_s = ttl_s / 3
        self._ttl_s = ttl_s
        self._folder = Path(url.removeprefix("file:"))
        self._announced: NodeEntry | None = None
        self._beats = 0
        self._seen: dict[str, tuple[str, float]] = {}  # file → its text, and since when

    async def announce(self, entry: NodeEntry) -> None:
        """As Registry.announce."""
        self._announced = entry
        await self.beat()

    async def beat(self) -> None:
        """As Registry.beat."""
        if self._announced is not None:
            self._beats += 1
            text = json.dumps({"beat": self._beats, "pid": os.getpid(), "entry": entry_text(self._announced)})
            await asyncio.to_thread(self._write, f"{self._announced.node}.json", text)

    async def withdraw(self) -> None:
        """As Registry.withdraw."""
        if self._announced is not None:
            await asyncio.to_thread(self._remove, f"{self._announced.node}.json")
            self._announced = None

    async def nodes(self) -> list[NodeEntry]:
        """As Registry.nodes. A first look cannot tell who is dead: an entry is trusted for one lease."""
        return await asyncio.to_thread(self._read)

    async def watch(self) -> AsyncGenerator[list[NodeEntry] | LoaderError, None]:
        """As Registry.watch."""
        known: list[NodeEntry] | None = None
        is_out = False
        while True:
            try:
                nodes = await self.nodes()
            except RegistryUnreachableError as error:
                if not is_out:
                    yield error
                is_out, known = True, None
            else:
                is_out = False
                if nodes != known:
                    known = nodes
                    yield nodes
            await asyncio.sleep(LOOK_S)

    async def close(self) -> None:
        """Nothing is kept open."""

    # ---- inside

    def _write(self, name: str, text: str) -> None:
        path = self._folder / name
        beside = self._folder / f".{name}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            beside.write_text(text)
            beside.replace(path)
        except OSError as error:
            raise RegistryUnreachableError(f"{path}: cannot be written: {error.strerror}") from None

    def _remove(self, name: str) -> None:
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise RegistryUnreachableError(f"{self._folder / name}: {error.strerror}") from None

    def _read(self) -> list[NodeEntry]:
        now_s = time.monotonic()
        texts = self._texts()
        self._seen = {
            name: (text, self._seen[name][1] if self._seen.get(name, ("",))[0] == text else now_s)
            for name, text in texts.items()
        }
        for name, (_, since_s) in self._seen.items():
            if now_s - since_s > FORGET * self._ttl_s:
                with contextlib.suppress(OSError):  # ours to read only
                    (self._folder / name).unlink()
        living = [text for text, since_s in self._seen.values() if now_s - since_s < self._ttl_s]
        found = [entry for text in living if (entry := _entry(text))]
        return sorted(found, key=lambda one: one.node)

    def _texts(self) -> dict[str, str]:
        texts = {}
        try:
            paths = [path for path in self._folder.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RegistryUnreachableError(f"{self._folder}: cannot be read: {error.strerror}") from None
        for path in paths:
            try:
                texts[path.name] = path.read_text()
            except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError):  # gone, or never an entry
                continue
            except OSError as error:
                raise RegistryUnreachableError(f"{path}: cannot be read: {error}") from None
        return texts


def _entry(text: str) -> NodeEntry | None:
    try:
        return entry_from(str(json.loads(text)["entry"]))
    except (ValueError, KeyError, TypeError):
        return None

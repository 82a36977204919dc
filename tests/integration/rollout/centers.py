"""A config center as an operator sees it: documents put into it, acknowledgements read from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from consul_agent import ConsulAgent

NODE = "n1"


class Place(Protocol):
    """One center, and how a loader is told of it."""

    @property
    def bootstrap(self) -> str:
        """The text of the node's own file."""

    def publish(self, text: str) -> None:
        """Puts the one document."""

    def acknowledgement(self) -> dict[str, Any]:
        """What the node says; empty: nothing yet."""


@dataclass
class FilePlace:
    """A folder."""

    folder: Path

    @property
    def bootstrap(self) -> str:
        return f"center: file:{self.folder}\nnode: {NODE}\ncache: {self.folder.parent / 'cache'}\n"

    def publish(self, text: str) -> None:
        self.folder.mkdir(exist_ok=True)
        beside = self.folder.parent / "beside"
        beside.write_text(text)
        beside.rename(self.folder / "service.yaml")

    def acknowledgement(self) -> dict[str, Any]:
        file = self.folder / ".loader" / "acknowledgements" / f"{NODE}.json"
        return json.loads(file.read_text()) if file.exists() else {}


@dataclass
class ConsulPlace:
    """A folder of Consul's store."""

    agent: ConsulAgent
    prefix: str
    cache: Path

    @property
    def bootstrap(self) -> str:
        return f"center: {self.agent.url(self.prefix)}\nnode: {NODE}\ncache: {self.cache}\n"

    def publish(self, text: str) -> None:
        self.agent.put(f"{self.prefix}/config/service.yaml", text)

    def acknowledgement(self) -> dict[str, Any]:
        held = self.agent.get(f"{self.prefix}/acknowledgements/{NODE}")
        return json.loads(held) if held else {}

"""What every registry offers: nodes announce what they serve, and others watch them.

Values and the one protocol; refuses to know any backend.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from loader.errors import LoaderError


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One version of one engine on one node."""

    name: str
    version: str
    weight: int = 100
    slots: int = 0
    slots_free: int = 0
    capabilities: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One loader that can be called."""

    node: str
    address: str  # HOST:PORT that others can reach
    zone: str = ""
    weight: int = 100  # of the node; 0: no new sessions
    is_tls: bool = False
    engines: tuple[EngineEntry, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


class Registry(Protocol):
    """The nodes of one service. Every call is bounded in time and may raise RegistryUnreachableError."""

    @property
    def url(self) -> str:
        """As given, without secrets."""

    async def announce(self, entry: NodeEntry) -> None:
        """Makes the entry seen, or replaces the node's last one. It expires when `beat` stays away."""

    async def beat(self) -> None:
        """Says that the announced node lives; every `beat_s`. Announces again where it was forgotten."""

    @property
    def beat_s(self) -> float:
        """How often to call `beat`."""

    async def withdraw(self) -> None:
        """The announced node takes no new work: gone from every watch at once."""

    async def nodes(self) -> list[NodeEntry]:
        """The nodes that live now, by name."""

    def watch(self) -> AsyncGenerator[list[NodeEntry] | LoaderError, None]:
        """All nodes now and after each change, without end; closing the iterator ends it.

        A RegistryUnreachableError is yielded, not raised, once, while the registry is out of reach.
        """

    async def close(self) -> None:
        """Ends its connections and watches."""

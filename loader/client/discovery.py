"""The nodes of a service as one client knows them, and the choice of one for each new call.

Pure: time and chance are given, so every choice can be tested. Refuses to know registries, channels and gRPC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from random import Random
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from loader.client.failures import ConnectionFailedError
from loader.errors import DeadlineExceededError, DrainingError
from loader.registry import NodeEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from loader.client.messages import Target
    from loader.errors import LoaderError
    from loader.registry import EngineEntry

ASIDE_S = 0.5  # a node that cannot be reached is asked last for so long, doubled with each further failure
ASIDE_MAX_S = 30.0
REFUSED_S = 1.0  # an engine that refused counts as full for so long: its node tells its load within this time
FORGET_S = 60.0  # a node that is no longer listed is remembered for so long


@dataclass(eq=False, slots=True)
class Node:
    """One loader, and what this client has seen of it."""

    entry: NodeEntry
    unlisted_s: float | None = None  # since when the registry does not list it; None: it does
    failures: int = 0
    aside_until_s: float = 0.0
    uses: int = 0  # open calls of this client
    own: dict[str, float] = field(
        default_factory=dict
    )  # the same by engine; shared out where several are meant
    told: dict[str, float] = field(
        default_factory=dict
    )  # how many of them the last report of load has counted
    refused_until_s: dict[str, float] = field(default_factory=dict)  # by engine
    connection: Any = None  # kept here by whoever makes connections

    def report(self, entry: NodeEntry) -> None:
        """Takes what the registry says now."""
        self.unlisted_s = None
        if entry != self.entry:
            self.entry = entry
            self.told = self.own.copy()

    def use(self, names: tuple[str, ...], count: int) -> None:
        """Calls that began, or ended."""
        self.uses += count
        for name in names:
            self.own[name] = self.own.get(name, 0.0) + count / len(names)


@dataclass(frozen=True, slots=True)
class Pick:
    """A node that was chosen for a call, and the names of the engines which may get it."""

    node: Node
    names: tuple[str, ...] = ()


class Choice(Protocol):
    """Where calls go: the nodes of a registry, or the one address that the caller gave."""

    def pick(self, target: Target, tried: Collection[Node] = ()) -> Pick | None:
        """A node that has not been tried; None: there is none. It counts as used until `release`."""

    def release(self, pick: Pick) -> None:
        """The call is over."""

    def note(self, pick: Pick, error: LoaderError | None) -> None:
        """How the node answered an open; None: well."""


class OneNode:
    """The choice where the caller named the address."""

    def __init__(self, address: str) -> None:
        self._pick = Pick(Node(NodeEntry(address, address)))

    def pick(self, target: Target, tried: Collection[Node] = ()) -> Pick | None:  # noqa: ARG002
        """As Choice.pick: the node, once."""
        return None if tried else self._pick

    def release(self, pick: Pick) -> None:
        """Nothing is counted."""

    def note(self, pick: Pick, error: LoaderError | None) -> None:
        """Nothing is noted."""


class Nodes:
    """The choice among the nodes of a registry. Thread-safe.

    Two nodes are drawn, each with a chance by its weight and its free slots, and the one with more of them gets the
    call: the best of all would draw every client of the service to one node until its next report of load.
    Nodes come in ranks, and a lower one is asked only where the higher are empty: reachable before set aside, listed
    before no longer listed, with a free slot before full, of the client's own zone before others.
    """

    def __init__(
        self,
        zone: str = "",
        *,
        needs_tls: bool = False,
        random: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._zone = zone
        self._needs_tls = needs_tls
        self._random = random or Random()  # noqa: S311 - spreads load
        self._clock = clock
        self._lock = Lock()
        self._nodes: dict[str, Node] = {}
        self._leaving: list[Node] = []  # their last calls still run

    @property
    def known(self) -> list[NodeEntry]:
        """The nodes that the registry lists, by name."""
        with self._lock:
            listed = [node.entry for node in self._nodes.values() if node.unlisted_s is None]
        return sorted(listed, key=lambda entry: entry.node)

    def update(self, entries: Iterable[NodeEntry]) -> list[Node]:
        """Takes the registry's list; gives the nodes that are forgotten now, with no call open."""
        with self._lock:
            listed = {entry.node: entry for entry in entries if entry.is_tls or not self._needs_tls}
            for name, entry in listed.items():
                self._list(name, entry)
            for name in self._nodes.keys() - listed.keys():
                self._unlist(name)
            gone = [node for node in self._leaving if not node.uses]
            self._leaving = [node for node in self._leaving if node.uses]
            return gone

    def pick(self, target: Target, tried: Collection[Node] = ()) -> Pick | None:
        """As Choice.pick."""
        with self._lock:
            now_s = self._clock()
            rooms = [
                self._room(node, engines, now_s)
                for node, engines in meant(target, self._nodes.values())
                if node not in tried
            ]
            if not rooms:
                return None
            best = min(room.rank for room in rooms)
            room = self._better_of_two([room for room in rooms if room.rank == best])
            room.node.use(room.names, 1)
            return Pick(room.node, room.names)

    def ranked(self, target: Target) -> list[tuple[NodeEntry, list[EngineEntry]]]:
        """Every node that serves the target with the versions it would choose among, the best first."""
        with self._lock:
            found = [
                (self._room(node, engines, self._clock()), engines)
                for node, engines in meant(target, self._nodes.values())
            ]
        found.sort(key=lambda one: (one[0].rank, -one[0].chance))
        return [(room.node.entry, engines) for room, engines in found]

    def release(self, pick: Pick) -> None:
        """As Choice.release."""
        with self._lock:
            pick.node.use(pick.names, -1)

    def note(self, pick: Pick, error: LoaderError | None) -> None:
        """As Choice.note."""
        with self._lock:
            now_s, node = self._clock(), pick.node
            if isinstance(error, (ConnectionFailedError, DrainingError)):
                wait_s = min(ASIDE_S * 2**node.failures, ASIDE_MAX_S)
                node.failures = min(node.failures + 1, 16)
                node.aside_until_s = now_s + wait_s * self._random.uniform(0.8, 1.2)
                return
            node.failures = 0
            node.aside_until_s = 0.0
            if error is not None and (error.retry == "elsewhere" or isinstance(error, DeadlineExceededError)):
                node.refused_until_s.update(dict.fromkeys(pick.names, now_s + REFUSED_S))

    # ---- inside, under the lock

    def _list(self, name: str, entry: NodeEntry) -> None:
        node = self._nodes.get(name)
        if node is not None and (node.entry.address, node.entry.is_tls) == (entry.address, entry.is_tls):
            node.report(entry)
            return
        if node is not None:
            self._leaving.append(node)
        self._nodes[name] = Node(entry)

    def _unlist(self, name: str) -> None:
        """It gets nothing while others are listed. An empty registry may just have lost its memory."""
        node, now_s = self._nodes[name], self._clock()
        if node.unlisted_s is None:
            node.unlisted_s = now_s
        elif now_s - node.unlisted_s > FORGET_S:
            self._leaving.append(self._nodes.pop(name))

    def _room(self, node: Node, engines: list[EngineEntry], now_s: float) -> Room:
        names = tuple(sorted({one.name for one in engines}))
        is_refused = any(node.refused_until_s.get(name, 0.0) > now_s for name in names)
        free = free_slots(node, engines)
        rank = (
            node.aside_until_s > now_s,
            node.unlisted_s is not None,
            is_refused or free <= 0,
            bool(self._zone) and node.entry.zone != self._zone,
        )
        return Room(node, names, rank, free, sum(one.slots for one in engines), total_weight(node, engines))

    def _better_of_two(self, rooms: list[Room]) -> Room:
        two = self._random.choices(rooms, [room.chance for room in rooms], k=2)
        return max(two, key=lambda room: room.score)


@dataclass(frozen=True, slots=True)
class Room:
    """What a node has for one call."""

    node: Node
    names: tuple[str, ...]
    rank: tuple[bool, bool, bool, bool]  # the lowest is asked first
    free: float
    slots: int
    weight: float

    @property
    def chance(self) -> float:
        """Of being drawn. Full nodes are drawn by their size: it says how fast their queue moves."""
        return self.weight * (self.free if self.free > 0 else max(1, self.slots))

    @property
    def score(self) -> float:
        """Of two that were drawn the higher one gets the call."""
        return self.free if self.free > 0 else self.free / max(1, self.slots)


def meant(target: Target, nodes: Iterable[Node]) -> list[tuple[Node, list[EngineEntry]]]:
    """The nodes that can serve the target, each with the versions among which it will choose.

    As the loaders choose themselves: a pinned version whatever its weight; else versions whose labels the caller
    has before those without labels, and none of weight 0.
    """
    is_pinned = bool(target.engine and target.version)
    found = [
        (node, one)
        for node in nodes
        if node.entry.weight > 0
        for one in node.entry.engines
        if _matches(target, one) and (one.weight > 0 or is_pinned)
    ]
    labelled = [(node, one) for node, one in found if one.labels and _is_subset(one.labels, target.labels)]
    plain = [(node, one) for node, one in found if not one.labels]
    chosen: dict[int, tuple[Node, list[EngineEntry]]] = {}
    for node, one in found if is_pinned else labelled or plain or found:
        chosen.setdefault(id(node), (node, []))[1].append(one)
    return list(chosen.values())


def _matches(target: Target, engine: EngineEntry) -> bool:
    return (
        (not target.engine or target.engine == engine.name)
        and (not target.version or target.version == engine.version)
        and _is_subset(target.selector, engine.capabilities)
    )


def _is_subset(some: Mapping[str, str], every: Mapping[str, str]) -> bool:
    return some.items() <= every.items()


def total_weight(node: Node, engines: list[EngineEntry]) -> float:
    """The node's share of new calls, before anybody looks at slots."""
    return node.entry.weight * (sum(one.weight for one in engines) or 1)


def free_slots(node: Node, engines: list[EngineEntry]) -> float:
    """The slots that a call will find, on average over the versions by their weight.

    The last report, less what this client opened since, plus what it closed since.
    """
    weights = [one.weight for one in engines]
    if not any(weights):  # pinned
        weights = [1] * len(engines)
    total = sum(weights)
    free = 0.0
    for one, weight in zip(engines, weights, strict=True):
        share = weight / total
        own = node.own.get(one.name, 0.0)
        since = own - node.told.get(one.name, 0.0)
        free += share * min(one.slots_free - share * since, one.slots - share * own)
    return free

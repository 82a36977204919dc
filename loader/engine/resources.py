"""The personal resources of every engine of this node: the one place that says which there are.

An instance that starts is given all of them before it serves; a resource that is loaded reaches every ready
instance, or none. Knows instances; refuses to know who asks.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loader.engine.holding import Resource, State
from loader.engine.instance import InstanceState
from loader.errors import (
    DeadlineExceededError,
    EngineError,
    EngineUnavailableError,
    InvalidArgumentError,
    ResourceLimitError,
    UnknownEngineError,
    UnknownResourceError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from typing import Any, TypeVar

    from loader._core import Server
    from loader.engine.deployment import Deployment
    from loader.engine.holding import Holding, Refusal
    from loader.engine.instance import Instance

    T = TypeVar("T")
    Tell = Callable[[str, str, str], None]

logger = logging.getLogger(__name__)

MOST_NUMBER = (1 << 32) - 1
FIRST = "patch_id"  # wrappers of AIGES look for it in the first place

CURES = {
    "native": "it needs the extension loader.resources/1, or wrapperLoadRes of AIGES",
    "python": "it needs load_resource and unload_resource, or wrapperLoadRes of AIGES",
}


@dataclass(slots=True)
class Entry:
    """One resource as it is wanted."""

    resource: Resource
    state: State = State.LOADING
    removal: asyncio.Task[Refused | None] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Which instance does not take part, and why."""

    instance: str
    refusal: Refusal

    def error(self, what: str) -> EngineError:
        """The same for the caller."""
        text = f"{self.instance}: {what}: {self.refusal.text}"
        return EngineError(text, engine_code=max(self.refusal.status, 0), engine_message=self.refusal.text)


def _refused(instance: Instance, refusal: Refusal | None) -> Refused | None:
    """The same of this instance, which is replaced where it hangs."""
    if refusal is None:
        return None
    if refusal.is_hung:
        instance.unhealthy(refusal.text)
    return Refused(instance.label, refusal)


@dataclass(slots=True)
class Shelf:
    """The resources of one engine."""

    entries: dict[int, Entry] = field(default_factory=dict)
    last: int = 0  # a number is not chosen twice: who still names an old one gets nobody else's

    def choose(self, number: int) -> int:
        """The number that is wanted, or a new one where that is 0."""
        chosen = number or self.last + 1
        self.last = max(self.last, chosen)
        return chosen


class Resources:
    """The resources of this node."""

    def __init__(self, core: Server, deployments: Callable[[], list[Deployment]], tell: Tell) -> None:
        self._core = core
        self._deployments = deployments
        self._tell = tell
        self._shelves: dict[str, Shelf] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # ---- what may be asked for

    async def load(
        self, engine: str, number: int, key: str, data: bytes, attributes: Mapping[str, str], limit_s: float
    ) -> int:
        """Gives every ready instance of `engine` the resource; its number, chosen where `number` is 0.

        Where one of them refuses, or does not answer in `limit_s`, it is taken back from the others.
        Raises: LoaderError saying which instance, and why.
        """
        self._check(engine, number, len(data))
        shelf = self._shelves.setdefault(engine, Shelf())
        ordered = dict(sorted(attributes.items(), key=lambda one: (one[0] != FIRST, one[0])))
        entry = Entry(Resource(shelf.choose(number), key, data, ordered))
        shelf.entries[entry.resource.number] = entry
        label = entry.resource.label
        began_s = asyncio.get_running_loop().time()
        spreading = self._begin(self._spread(engine, entry))
        await asyncio.wait({spreading}, timeout=limit_s)
        if spreading.done() and spreading.result() is None:
            self._say(engine, f"{label} loaded, {len(data)} bytes")
            return entry.resource.number
        entry.state = State.UNLOADING
        late = ", ".join(one.label for one in self._waiting(engine, entry))
        entry.removal = self._begin(self._remove(engine, entry))
        left_s = limit_s - (asyncio.get_running_loop().time() - began_s)
        await asyncio.wait({entry.removal}, timeout=max(left_s, 0))
        refused = spreading.result() if spreading.done() else None
        error = (
            refused.error(label)
            if refused is not None
            else DeadlineExceededError(f"{late}: {label}: not taken in {limit_s:.1f} s: it is taken back")
        )
        self._say(engine, f"{label} refused: {error.message}")
        raise error

    async def unload(self, engine: str, number: int, limit_s: float) -> bool:
        """Takes a resource away. True: sessions or calls still use it after `limit_s`; it goes when they have ended.

        New ones that name it are refused from now on. Raises: UnknownResourceError; EngineError where an engine
        complained, and has lost it all the same.
        """
        entry = self._entry(engine, number)
        if entry.removal is None:
            if entry.state is State.LOADING:
                raise UnknownResourceError(
                    f"{engine}: {entry.resource.label} is being loaded: ask again then"
                )
            entry.state = State.UNLOADING
            entry.removal = self._begin(self._remove(engine, entry))
        done, _ = await asyncio.wait({entry.removal}, timeout=limit_s)
        if not done:
            self._say(engine, f"{entry.resource.label} waits for sessions to be unloaded")
            return True
        refused = entry.removal.result()
        self._say(engine, f"{entry.resource.label} unloaded")
        if refused is not None:
            raise refused.error(entry.resource.label)
        return False

    def entries(self, engine: str = "") -> Iterator[tuple[str, Entry, list[tuple[str, int, State]]]]:
        """Engine, resource, and version, index and state of each instance that has it."""
        for name, shelf in sorted(self._shelves.items()):
            if engine in ("", name):
                for number, entry in sorted(shelf.entries.items()):
                    yield (
                        name,
                        entry,
                        [
                            (one.spec.version, one.index, one.holding.states[number])
                            for one in self._holders(name, number)
                            if one.holding is not None
                        ],
                    )

    # ---- what happens to instances

    def join(self, instance: Instance) -> None:
        """An instance has initialised: it is given what there is, and then serves."""
        if instance.holding is not None:
            self._begin(self._feed(instance, instance.holding))

    def refusal_of(self, instance: Instance) -> str:
        """Why an instance that takes no resources cannot serve; empty where its engine has none."""
        entries = self._shelves.get(instance.spec.name, Shelf()).entries
        if not entries:
            return ""
        first = next(iter(entries.values())).resource.label
        return (
            f"{len(entries)} resources are loaded into {instance.spec.name}, {first} for one, and this version takes "
            f"none: unload them first; {CURES[instance.spec.manifest.kind]}"
        )

    def forget(self, engine: str) -> None:
        """The engine is not served any more."""
        self._shelves.pop(engine, None)

    # ---- inside

    def _check(self, engine: str, number: int, size_bytes: int) -> None:
        instances = self._instances(engine)
        if not instances and any(one.spec.name == engine for one in self._deployments()):
            raise EngineUnavailableError(f"{engine} is being replaced in place, or removed: ask again later")
        if not instances:
            raise UnknownEngineError(f"no engine `{engine}` is served here: ListEngines tells those that are")
        ready = [one for one in instances if one.state is InstanceState.READY]
        without = next((one for one in ready if one.holding is None), None)
        if without is not None:
            raise UnsupportedError(f"{without.label} takes no resources: {CURES[without.spec.manifest.kind]}")
        if not ready:
            raise EngineUnavailableError(
                f"{engine} has no ready instance: {instances[0].error or 'it starts'}"
            )
        if not 0 <= number <= MOST_NUMBER:
            raise InvalidArgumentError(f"id is {number}: give a number from 1 to {MOST_NUMBER}, or none")
        held = self._shelves.get(engine, Shelf()).entries
        if number in held:
            raise InvalidArgumentError(
                f"{engine}: {held[number].resource.label} is {held[number].state.value}: unload it first, or give no id"
            )
        self._check_limits(engine, ready, [one.resource for one in held.values()], size_bytes)

    def _check_limits(
        self, engine: str, ready: list[Instance], held: list[Resource], size_bytes: int
    ) -> None:
        most = min(one.spec.config.resources.count for one in ready)
        if len(held) >= most:
            raise ResourceLimitError(
                f"{engine} holds {len(held)} resources, engines.{engine}.resources.count is {most}: unload some, "
                "or raise it"
            )
        most_bytes = min(one.spec.config.resources.total_bytes for one in ready)
        total = size_bytes + sum(len(one.data) for one in held)
        if total > most_bytes:
            raise ResourceLimitError(
                f"{engine} would hold {total} bytes of resources, engines.{engine}.resources.total_bytes is "
                f"{most_bytes}: unload some, or raise it"
            )

    def _entry(self, engine: str, number: int) -> Entry:
        shelf = self._shelves.get(engine)
        if shelf is None or number not in shelf.entries:
            raise UnknownResourceError(f"{engine} has no resource {number}: ListResources tells those it has")
        return shelf.entries[number]

    async def _spread(self, engine: str, entry: Entry) -> Refused | None:
        while entry.state is State.LOADING and (todo := self._lacking(engine, entry)):
            for refused in await asyncio.gather(*(self._give(one, entry.resource) for one in todo)):
                if refused is not None:
                    return refused
        if entry.state is State.LOADING:  # at once: who is fed from now on is given it there
            entry.state = State.LOADED
        return None

    async def _give(self, instance: Instance, resource: Resource) -> Refused | None:
        holding = instance.holding
        return None if holding is None else _refused(instance, await holding.load(resource))

    async def _remove(self, engine: str, entry: Entry) -> Refused | None:
        """Ends when no instance has it any more; what the first of them said against it."""
        number = entry.resource.number
        refused: list[Refused | None] = []
        while holders := self._holders(engine, number):
            refused += await asyncio.gather(*(self._take_back(one, number) for one in holders))
        shelf = self._shelves.get(engine)
        if shelf is not None and shelf.entries.get(number) is entry:
            del shelf.entries[number]
        return next((one for one in refused if one is not None), None)

    async def _take_back(self, instance: Instance, number: int) -> Refused | None:
        holding = instance.holding
        return None if holding is None else _refused(instance, await holding.unload(number))

    async def _feed(self, instance: Instance, holding: Holding) -> None:
        name = instance.spec.name
        while todo := self._missing(name, holding):
            refused = await self._give(instance, todo[0].resource)
            if holding.is_over:
                return
            if refused is not None and todo[0].state is State.LOADED:
                self._core.kill_instance(holding.handle, f"{todo[0].resource.label}: {refused.refusal.text}")
                return
        holding.is_complete = True
        self._core.open_instance(holding.handle)

    def _missing(self, engine: str, holding: Holding) -> list[Entry]:
        entries = self._shelves.get(engine, Shelf()).entries.items()
        return [one for number, one in entries if one.state is State.LOADED and number not in holding.states]

    def _instances(self, engine: str) -> list[Instance]:
        """Those that get new sessions, or will."""
        deployments = (one for one in self._deployments() if one.spec.name == engine and not one.is_leaving)
        return [instance for one in deployments for instance in one.instances]

    def _lacking(self, engine: str, entry: Entry) -> list[Instance]:
        """The instances that serve without it; who is being fed is given it there."""
        return [
            one
            for one in self._instances(engine)
            if one.state in (InstanceState.STARTING, InstanceState.READY)
            and one.holding is not None
            and one.holding.is_complete
            and entry.resource.number not in one.holding.states
        ]

    def _holders(self, engine: str, number: int) -> list[Instance]:
        """Also of deployments that leave: their sessions go on."""
        instances = (i for one in self._deployments() if one.spec.name == engine for i in one.instances)
        return [one for one in instances if one.holding is not None and number in one.holding.states]

    def _waiting(self, engine: str, entry: Entry) -> list[Instance]:
        number = entry.resource.number
        return [
            one
            for one in self._holders(engine, number)
            if one.holding is not None and one.holding.states[number] is State.LOADING
        ]

    def _say(self, engine: str, text: str) -> None:
        logger.info("resource", extra={"engine": engine, "what": text})
        self._tell("resource", engine, text)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

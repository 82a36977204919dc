"""The personal resources that one process of an instance has, and the calls about them that are under way.

Knows the data plane's number of the instance; which resources it should have is resources.py's.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from loader.errors import CallHungError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader._core import Server

CALLS = itertools.count(1)  # unique in the process: an answer that comes late finds nobody


class State(Enum):
    """As ResourceStatus.state and ResourceInstance.state of loader.v1."""

    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource; its data is kept here and nowhere else in the loader."""

    number: int
    key: str
    data: bytes
    attributes: Mapping[str, str]

    @property
    def label(self) -> str:
        return f"resource {self.number} ({self.key})" if self.key else f"resource {self.number}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an engine says that does not take or give back a resource."""

    text: str
    status: int = 0  # positive: the engine's own
    code: int = 0  # of errors.def

    @property
    def is_hung(self) -> bool:
        return self.code == CallHungError.code


Answer = asyncio.Future[Refusal | None]


class Holding:
    """Begins when the process has initialised; `end()` is its last word."""

    def __init__(self, core: Server, handle: int) -> None:
        self.handle = handle
        self.states: dict[int, State] = {}
        self.is_complete = False  # it was given all there were: loads from now on include it
        self.is_over = False
        self._core = core
        self._calls: dict[int, Answer] = {}

    async def load(self, resource: Resource) -> Refusal | None:
        """Gives it the resource; what it says against it, or nothing. Nothing, too, where it ends meanwhile."""
        self.states[resource.number] = State.LOADING
        call, answer = self._expect()
        try:
            self._core.load_resource(
                self.handle, call, resource.number, resource.key, resource.data, dict(resource.attributes)
            )
        except ValueError:  # it has ended: that will be told
            self._answer(call, None)
        refusal = await answer
        if self.states.get(resource.number) is State.LOADING:
            if refusal is None:
                self.states[resource.number] = State.LOADED
            elif not refusal.is_hung:
                del self.states[resource.number]
        return refusal

    async def unload(self, number: int) -> Refusal | None:
        """Takes it away, when nobody uses it any more; as load()."""
        self.states[number] = State.UNLOADING
        call, answer = self._expect()
        try:
            self._core.unload_resource(self.handle, call, number)
        except ValueError:
            self._answer(call, None)
        refusal = await answer
        self.states.pop(number, None)
        return refusal

    def answered(self, event: Mapping[str, object]) -> None:
        """An "instance_resource" event."""
        status = int(str(event["status"]))
        text = str(event["message"]) or f"status {status}"
        refusal = Refusal(text, status, int(str(event["code"]))) if status else None
        self._answer(int(str(event["call"])), refusal)

    def end(self) -> None:
        """The process is gone, and its resources with it."""
        self.is_over = True
        self.states.clear()
        for call in list(self._calls):
            self._answer(call, None)

    def _expect(self) -> tuple[int, Answer]:
        call = next(CALLS)
        answer: Answer = asyncio.get_running_loop().create_future()
        self._calls[call] = answer
        if self.is_over:
            self._answer(call, None)
        return call, answer

    def _answer(self, call: int, refusal: Refusal | None) -> None:
        answer = self._calls.pop(call, None)
        if answer is not None and not answer.done():
            answer.set_result(refusal)

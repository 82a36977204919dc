"""What a call or session of a wrapper is opened with: its names, its parameters, its personal resources."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loader.compat.aiges.receivers import RECEIVERS, Receiver
from loader.wrapper import Rejected


@dataclass(slots=True)
class Opening:
    """One call or session. `tag` is unique in this process, `sid` is the client's where it gave one."""

    tag: str
    sid: str
    params: dict[str, str]
    resources: list[Any] = field(default_factory=list)

    @property
    def personal(self) -> Any:
        """persId: the first resource as LoadRes named it, or 0."""
        return self.resources[0] if self.resources else 0

    def register(self, receiver: Receiver) -> None:
        """Makes callbacks by tag and by sid find `receiver`.

        A sid that another open one has is replaced by the tag: no result reaches the wrong client.
        """
        RECEIVERS.add(self.tag, receiver)
        if not RECEIVERS.add(self.sid, receiver):
            self.params["sid"] = self.sid = self.tag

    def forget(self, receiver: Receiver) -> None:
        """From here on callbacks are refused."""
        RECEIVERS.remove(receiver, self.tag, self.sid)


class Resources:
    """Personal resources by number, as the wrapper knows them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[int, Any] = {}

    def name_of(self, number: int, desc: Mapping[str, str]) -> Any:
        """What the wrapper is told: the description's patch_id, else the number."""
        return desc.get("patch_id", number)

    def add(self, number: int, name: Any) -> None:
        """From now on calls may ask for it."""
        with self._lock:
            self._names[number] = name

    def remove(self, number: int) -> Any:
        """Its name. Raises: Rejected."""
        with self._lock:
            if number not in self._names:
                raise Rejected(f"resource {number} is not loaded")
            return self._names.pop(number)

    def find(self, said: Any) -> list[Any]:
        """The names of the numbers in `[1, 2]`, `1` or `"1,2"`. Raises: Rejected."""
        if said is None or said == "":
            return []
        words = said if isinstance(said, list) else str(said).split(",")
        with self._lock:
            found = [self._names.get(_number(word)) for word in words]
        missing = [str(word) for word, name in zip(words, found, strict=True) if name is None]
        if missing:
            raise Rejected(f"resource {missing[0]} is not loaded")
        return found


def _number(word: Any) -> int:
    try:
        return int(word)
    except (TypeError, ValueError):
        raise Rejected(f"resource_ids: `{word}` is no number") from None

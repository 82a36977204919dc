"""What AIGES wrappers say, as the host's items and back.

Anything that was ever accepted is: objects of this package, of an installed `aiges`, dictionaries, text for
bytes, numbers as text, a wrong `len`. Refuses to know calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from loader.compat.aiges.constants import DataBegin, DataContinue, DataEnd, DataOnce, DataPer, DataText
from loader.compat.aiges.dto import DataListCls, DataListNode
from loader.wrapper import Item, ItemView, Result

KIND_NAMES = ("text", "audio", "image", "video")
KINDS = {name: number for number, name in enumerate(KIND_NAMES)} | {"json": DataText}
STATUS_NAMES = ("begin", "continue", "end", "once")
STATUSES = {name: number for number, name in enumerate(STATUS_NAMES)}
CODE_NAMES = ("error_code", "errCode", "err_code")


@dataclass(slots=True)
class Node:
    """One result of a wrapper, as its words are meant."""

    key: str
    data: bytes
    kind: int
    status: int | None
    attributes: dict[str, str]

    def to_item(self, status: int) -> Item:
        """The item to send."""
        kind = KIND_NAMES[self.kind] if 0 <= self.kind < len(KIND_NAMES) else "bytes"
        return Item(self.data, type=kind, status=STATUS_NAMES[status], attributes=self.attributes or None)


@dataclass(slots=True)
class Outcome:
    """What a function of a wrapper returned, or passed to a callback."""

    code: int = 0
    nodes: list[Node] = field(default_factory=list)

    @property
    def is_final(self) -> bool:
        """It holds the last of its session."""
        return any(node.status in (DataEnd, DataOnce) for node in self.nodes)

    @property
    def size_bytes(self) -> int:
        """The data of all nodes."""
        return sum(len(node.data) for node in self.nodes)

    @property
    def says_nothing(self) -> bool:
        """Nothing to send: no nodes, or only empty ones that end nothing."""
        return not self.is_final and not any(node.data for node in self.nodes)

    def to_once(self) -> Result:
        """The result of a one-shot call: every status is ONCE."""
        return Result([(node.key, node.to_item(DataOnce)) for node in self.nodes])

    def to_stream(self) -> Result:
        """A result of a session: a status that is none of the four is CONTINUE."""
        return Result([(node.key, node.to_item(_status_of(node))) for node in self.nodes])


def _status_of(node: Node) -> int:
    return node.status if node.status is not None else DataContinue


def outcome_of(value: Any, results: Iterable[Any] = ()) -> Outcome:
    """What `value` means; `results` are what the wrapper put into respData. Raises: TypeError."""
    own = [node for node in map(to_node, results) if node is not None]
    if value is None:
        return Outcome(0, own)
    if isinstance(value, int):
        return Outcome(int(value), own)
    if isinstance(value, list | tuple):
        return Outcome(0, own + _nodes(value))
    if is_response(value):
        return Outcome(code_of(value), own + _nodes(_get(value, "list", None) or ()))
    if isinstance(value, dict) or hasattr(value, "data"):
        return Outcome(0, own + _nodes([value]))
    raise TypeError(f"a {type(value).__name__} is no result: return a Response")


def is_response(value: Any) -> bool:
    """It has a list of nodes, or an error code."""
    return hasattr(value, "list") or any(hasattr(value, name) for name in CODE_NAMES)


def code_of(value: Any) -> int:
    """The error code by whatever name it has; 0 where it says none."""
    for name in CODE_NAMES:
        code = _get(value, name, None)
        if code:
            return int(code)
    return 0


def _nodes(values: Iterable[Any]) -> list[Node]:
    return [node for node in map(to_node, values) if node is not None]


def to_node(value: Any) -> Node | None:
    """None for one that was never filled in. Raises: TypeError for data that has no bytes."""
    key, data = _get(value, "key", ""), data_of(_get(value, "data", b""))
    if not key and not data:
        return None
    status = _number(_get(value, "status", None))
    return Node(
        key.decode("utf-8", "replace") if isinstance(key, bytes) else clean(str(key)),
        data,
        _number(_get(value, "type", DataText)) or 0,
        status if status is not None and 0 <= status < len(STATUS_NAMES) else None,
        {clean(str(name)): clean(str(one)) for name, one in (_get(value, "desc", None) or {}).items()},
    )


def _get(value: Any, name: str, otherwise: Any) -> Any:
    return value.get(name, otherwise) if isinstance(value, dict) else getattr(value, name, otherwise)


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def clean(text: str) -> str:
    """Without what UTF-8 has no bytes for."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def data_of(data: Any) -> bytes:
    """The bytes of a result; its `len` is not asked. Raises: TypeError."""
    if isinstance(data, bytes):
        return data
    if data is None:
        return b""
    if isinstance(data, str):
        return clean(data).encode()
    if isinstance(data, dict | list | int | float):
        return json.dumps(data, ensure_ascii=False).encode()
    return bytes(memoryview(data))  # raises TypeError for what has no buffer


# ---- input


def request_of(items: Iterable[ItemView], statuses: Iterable[int]) -> DataListCls:
    """The items of a frame as a wrapper wants them; their data is the wrapper's own copy."""
    request = DataListCls()
    request.list = [_to_input(item, status) for item, status in zip(items, statuses, strict=True)]
    return request


def _to_input(item: ItemView, status: int) -> DataListNode:
    return make_input(item.key, bytes(item), KINDS.get(item.type, DataPer), status, dict(item.attributes))


def make_input(key: str, data: bytes, kind: int, status: int, desc: dict[str, str]) -> DataListNode:
    """One input node."""
    node = DataListNode()
    node.key, node.data, node.len = key, data, len(data)
    node.type, node.status, node.desc = kind, status, desc
    return node


def as_dictionaries(request: DataListCls) -> tuple[dict[str, Any], ...]:
    """The same for wrappers of the first generation."""
    names = ("key", "data", "len", "status", "type", "desc")
    return tuple({name: getattr(node, name) for name in names} for node in request.list)


def status_of(item: ItemView, otherwise: int) -> int:
    """What the client said, else the natural one."""
    return STATUSES.get(item.status, otherwise)


def is_last(status: int) -> bool:
    """END or ONCE."""
    return status in (DataEnd, DataOnce)


FIRST, NEXT, LAST, WHOLE = DataBegin, DataContinue, DataEnd, DataOnce


# ---- parameters and configuration, which are text


def text_of(value: Any) -> str:
    """A JSON value as AIGES passes it: true, 16000, 2.5 without exponent; lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Each value as text, in a dictionary that the wrapper may change."""
    return {name: text_of(value) for name, value in values.items()}

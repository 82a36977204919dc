"""How a finder lays things out in ZooKeeper: paths, the frame around a content, gray groups, providers.

Pure functions; connects to nothing.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

API_VERSION: Final = "1.0.0"  # of every service that AIGES serves
LENGTH: Final = struct.Struct(">I")
ZOOKEEPER_PORT: Final = 2181


@dataclass(frozen=True, slots=True)
class Storage:
    """What a companion says of one service: where in ZooKeeper its things are."""

    servers: tuple[str, ...]  # HOST:PORT
    config_path: str  # empty: the companion names none
    service_path: str


def storage_from(values: object, project: str, group: str) -> Storage:
    """The `data` of a companion's answer. Raises: ValueError."""
    if not isinstance(values, dict):
        raise ValueError("its data is no object")
    servers = values.get("zk_addr")
    if isinstance(servers, str):
        servers = servers.split(",")
    if not isinstance(servers, list) or not servers or not all(isinstance(one, str) for one in servers):
        raise ValueError(f"zk_addr is {json.dumps(servers)}: it must be a list of HOST:PORT")
    return Storage(
        tuple(_server(one) for one in servers),
        _path(values, "config_path"),
        _path(values, "service_path") or default_service_path(project, group),
    )


def default_service_path(project: str, group: str) -> str:
    """Where a finder keeps the services of a group if nobody says otherwise."""
    return f"/polaris/service/{hashlib.md5(f'{project}{group}'.encode(), usedforsecurity=False).hexdigest()}"


def is_name(name: str) -> bool:
    """Whether a node may be called so: what may not be ends kazoo's own thread, or is refused by ZooKeeper."""
    return name not in ("", ".", "..") and "/" not in name and name.isprintable()


def _path(values: dict[str, Any], key: str) -> str:
    path = values.get(key) or ""
    names = [one for one in path.split("/") if one] if isinstance(path, str) else [""]
    if (names and not path.startswith("/")) or not all(map(is_name, names)):
        raise ValueError(f"{key} is {json.dumps(path)}: it must be a path that begins with /")
    return "".join(f"/{one}" for one in names)


def _server(text: str) -> str:
    address = text.strip()
    try:
        found = urlsplit(f"//{address}")
        if is_name(address) and found.hostname and found.netloc == address and found.port != 0:
            return address if found.port else f"{address.rstrip(':')}:{ZOOKEEPER_PORT}"
    except ValueError:  # a port that is none
        pass
    raise ValueError(f"zk_addr has {text!r}: it must be HOST:PORT")


@dataclass(frozen=True, slots=True)
class Content:
    """What a node holds, and the push that brought it there."""

    push_id: str
    data: bytes


def unframed(data: bytes) -> Content:
    """The content of a node. Raises: ValueError."""
    if len(data) < LENGTH.size:
        raise ValueError(f"has {len(data)} bytes: a finder's content begins with 4 bytes of length")
    (size,) = LENGTH.unpack_from(data)
    if size > len(data) - LENGTH.size:
        raise ValueError(
            f"says that its push id has {size} bytes, and has {len(data) - LENGTH.size}: no finder wrote it"
        )
    begin = LENGTH.size + size
    return Content(data[LENGTH.size : begin].decode(errors="replace"), data[begin:])


def framed(push_id: str, data: bytes) -> bytes:
    """The opposite."""
    return LENGTH.pack(len(push_id.encode())) + push_id.encode() + data


def gray_groups(data: bytes) -> dict[str, str]:
    """Consumer → gray group, from the node `gray`. Raises: ValueError."""
    if not data:
        return {}
    content = unframed(data).data
    groups = _json(content) if content.strip() else []
    if not isinstance(groups, list):
        raise ValueError("is no list of gray groups")
    found: dict[str, str] = {}
    for group in groups:
        name, servers = _gray_group(group)
        found |= {server.strip(): name for one in servers for server in one.split(",") if server.strip()}
    return found


def _gray_group(group: object) -> tuple[str, list[str]]:
    name = group.get("group_id") if isinstance(group, dict) else None
    servers = group.get("server_list") if isinstance(group, dict) else None
    if not isinstance(name, str) or not is_name(name) or not isinstance(servers, list):
        raise ValueError(f"has {json.dumps(group)[:80]}: a gray group has a group_id and a server_list")
    return name, [one for one in servers if isinstance(one, str)]


PROVIDER_DATA: Final = framed("", json.dumps({"sdk": {"is_valid": True}, "user": {}}).encode())


def is_valid_provider(data: bytes) -> bool:
    """Whether a console has left the provider enabled; one that it never looked at is."""
    try:
        values = _json(unframed(data).data)
    except ValueError:
        return True
    sdk = values.get("sdk") if isinstance(values, dict) else None
    return not isinstance(sdk, dict) or sdk.get("is_valid", True) is not False


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deeply") from None

"""Each backend of a registry, with what else happens to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consul_agent import ConsulAgent
from finder_console import Console

from loader.consul_link import ConsulAccess
from loader.registry import NodeEntry, Registry
from loader.registry.consul import ConsulRegistry
from loader.registry.file import FileRegistry
from loader.registry.finder import FinderRegistry

TTL_S = 30.0  # of those whose leases do not end
LEASE_S = 3.0  # of those whose leases do; a third of it may pass between two beats


@dataclass(frozen=True)
class Backend:
    """One registry for the nodes of one service. `other`: of another service beside it."""

    open: Callable[[], Registry]
    other: Callable[[], Registry]
    forget: Callable[[str], None]  # the registry loses a node
    litter: Callable[[], None]  # another program leaves something there


def file_backend(folder: Path, ttl_s: float = TTL_S) -> Backend:
    def litter() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "other.json").write_text('{"entry": 1}')
        (folder / "half.json").write_text('{"entry": "{')
        (folder / "notes.txt").write_text("x")
        (folder / "bytes.json").write_bytes(b"\xff")
        (folder / "folder.json").mkdir()

    return Backend(
        lambda: FileRegistry(f"file:{folder}", ttl_s=ttl_s),
        lambda: FileRegistry(f"file:{folder}-other", ttl_s=ttl_s),
        lambda node: (folder / f"{node}.json").unlink(),
        litter,
    )


def consul_backend(agent: ConsulAgent, service: str, ttl_s: float = TTL_S) -> Backend:
    def litter() -> None:
        for number, meta in enumerate(({}, {"loader_0": "{half"}, {"loader_0": '{"engines": 3}'})):
            body = {"Name": service, "ID": f"other-{service}-{number}", "Port": 1, "Meta": meta}
            agent.call("PUT", "/agent/service/register", json.dumps(body).encode())

    return Backend(
        lambda: ConsulRegistry(agent.url(f"services/{service}"), ConsulAccess(), ttl_s=ttl_s),
        lambda: ConsulRegistry(agent.url(f"services/{service}-other"), ConsulAccess(), ttl_s=ttl_s),
        lambda node: agent.call("PUT", f"/agent/service/deregister/{service}-{node}"),
        litter,
    )


def finder_backend(console: Console) -> Backend:
    folder = console.provider_path.removesuffix("/provider")

    def forget(node: str) -> None:
        for kind in ("loader", "provider"):
            for name in console.names(f"{folder}/{kind}"):
                console.remove(f"{folder}/{kind}/{name}")

    def litter() -> None:
        console.put(f"{folder}/provider/192.0.2.9:1", b"")  # a server of AIGES
        console.put(f"{folder}/loader/half", b'{"node": "')
        console.put(f"{folder}/loader/other", b'{"engines": 3}')
        for number, name in enumerate(("a/b", "..", r"a\u0000b", r"\ud800")):
            console.put(f"{folder}/loader/lost{number}", b'{"node": "lost", "address": "%s"}' % name.encode())
        console.put(f"{folder}/loader/deep", b"[" * 100_000)

    return Backend(
        lambda: FinderRegistry(console.url),
        lambda: FinderRegistry(console.url.replace(console.service, f"{console.service}-other")),
        forget,
        litter,
    )


def entry(node: str, port: int = 50051, **more: object) -> NodeEntry:
    return NodeEntry(node, f"192.0.2.7:{port}", **more)  # type: ignore[arg-type]

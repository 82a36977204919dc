"""Each backend of a center, with what an operator's tools do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from consul_agent import ConsulAgent
from finder_console import Console, framed

from loader.center import Center, open_center
from loader.consul_link import ConsulAccess


@dataclass(frozen=True)
class Backend:
    """One center, and what is done to it past the code under test: as an operator's tools would."""

    open: Callable[[], Center]
    write: Callable[[str, str], None]
    remove: Callable[[str], None]
    spoil: Callable[[str], None]  # makes it a document that is not UTF-8


def file_backend(folder: Path) -> Backend:
    folder.mkdir()

    def write(name: str, text: str) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return Backend(
        lambda: open_center(f"file:{folder}", ConsulAccess()),
        write,
        lambda name: (folder / name).unlink(),
        lambda name: [None, (folder / name).write_bytes(b"\xff")][0],
    )


def finder_backend(console: Console) -> Backend:
    """A finder has one document of ours, and nobody puts it from here."""

    def path(name: str) -> str:
        return f"{console.config_path}/{name}"

    return Backend(
        lambda: open_center(f"{console.url}#service.yaml", ConsulAccess()),
        lambda name, text: console.push(text, file=name),
        lambda name: console.remove(path(name)),
        lambda name: console.put(path(name), framed("", b"\xff")),
    )


def consul_backend(agent: ConsulAgent, prefix: str) -> Backend:
    return Backend(
        lambda: open_center(agent.url(prefix), ConsulAccess()),
        lambda name, text: agent.put(f"{prefix}/config/{name}", text),
        lambda name: agent.delete(f"{prefix}/config/{name}"),
        lambda name: agent.put(f"{prefix}/config/{name}", b"\xff"),
    )

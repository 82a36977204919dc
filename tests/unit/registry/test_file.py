"""A registry of files: leases by the watcher's own clock, and nothing left of the dead."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from loader.errors import RegistryUnreachableError
from loader.registry import NodeEntry
from loader.registry import file as module
from loader.registry.file import FORGET, FileRegistry

TTL_S = 10.0


class Clock:
    """The monotonic clock, moved by the test; the wall clock jumps by years meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "time", lambda: 1e9 * (self.now_s % 7))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def nodes(registry: FileRegistry) -> list[str]:
    return [one.node for one in registry._read()]


def announced(folder: Path, node: str) -> FileRegistry:
    registry = FileRegistry(f"file:{folder}", ttl_s=TTL_S)
    registry._announced = NodeEntry(node, "192.0.2.1:1")
    beat(registry, node)
    return registry


def beat(registry: FileRegistry, node: str) -> None:
    registry._beats += 1
    text = json.dumps(
        {"beat": registry._beats, "entry": json.dumps({"node": node, "address": "192.0.2.1:1"})}
    )
    registry._write(f"{node}.json", text)


def test_a_lease_is_of_the_watchers_own_monotonic_clock(tmp_path: Path, clock: Clock) -> None:
    """Neither the wall clock nor a file's times count: an entry lives while its bytes change."""
    node = announced(tmp_path, "n1")
    reader = FileRegistry(f"file:{tmp_path}", ttl_s=TTL_S)
    for _ in range(5):
        assert nodes(reader) == ["n1"]
        clock.now_s += TTL_S - 1
        beat(node, "n1")
    assert nodes(reader) == ["n1"]
    clock.now_s += TTL_S
    assert nodes(reader) == []
    beat(node, "n1")
    assert nodes(reader) == ["n1"]


def test_a_dead_nodes_file_is_removed_at_last(tmp_path: Path, clock: Clock) -> None:
    """Not before several leases are over; then nobody trusts it for a lease again."""
    announced(tmp_path, "n1")
    reader = FileRegistry(f"file:{tmp_path}", ttl_s=TTL_S)
    assert nodes(reader) == ["n1"]
    clock.now_s += FORGET * TTL_S
    assert nodes(reader) == []
    assert (tmp_path / "n1.json").exists()
    clock.now_s += 1
    assert nodes(reader) == []
    assert not (tmp_path / "n1.json").exists()


def test_a_folder_that_cannot_be_used_is_a_registry_out_of_reach(tmp_path: Path) -> None:
    """The error names the path; a folder that is not there yet is an empty registry."""
    (tmp_path / "file").write_text("")
    registry = FileRegistry(f"file:{tmp_path / 'file'}")
    with pytest.raises(RegistryUnreachableError, match=r"file.*cannot be"):
        asyncio.run(registry.nodes())
    with pytest.raises(RegistryUnreachableError, match=r"n1\.json.*cannot be"):
        asyncio.run(registry.announce(NodeEntry("n1", "192.0.2.1:1")))
    assert asyncio.run(FileRegistry(f"file:{tmp_path / 'none'}").nodes()) == []

"""The embedded config center: revisions by content, each change seen once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from loader.center import FileCenter
from loader.errors import BadConfigError

LIMIT_S = 10


async def next_revision(center: FileCenter, change: object) -> str:
    """The text of the first revision after `change()` has run."""
    stop = asyncio.Event()
    revisions = center.watch(stop)
    async with asyncio.timeout(LIMIT_S):
        waiting = asyncio.ensure_future(anext(revisions))
        await asyncio.sleep(0)
        change()  # type: ignore[operator]
        text = (await waiting).text
    stop.set()
    await revisions.aclose()
    return text


def test_equal_text_is_the_same_revision(tmp_path: Path) -> None:
    """A revision names content, not time."""
    file = tmp_path / "c.yaml"
    file.write_text("a")
    first = FileCenter(file).load()
    file.write_text("b")
    second = FileCenter(file).load()
    file.write_text("a")
    assert first == FileCenter(file).load() != second


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """The error names the file and the option."""
    with pytest.raises(BadConfigError, match="--config"):
        FileCenter(tmp_path / "none.yaml").load()


def test_a_write_in_place_is_seen(tmp_path: Path) -> None:
    """The new text comes as a revision."""
    file = tmp_path / "c.yaml"
    file.write_text("a")
    center = FileCenter(file)
    center.load()
    assert asyncio.run(next_revision(center, lambda: file.write_text("b"))) == "b"


def test_a_replaced_file_is_seen(tmp_path: Path) -> None:
    """Editors write a new file and rename it."""
    file = tmp_path / "c.yaml"
    file.write_text("a")
    center = FileCenter(file)
    center.load()
    new = tmp_path / "c.tmp"
    new.write_text("b")
    assert asyncio.run(next_revision(center, lambda: new.rename(file))) == "b"


def test_a_swapped_config_map_is_seen(tmp_path: Path) -> None:
    """Kubernetes swaps the link `..data` that the file is reached through."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.yaml").write_text(name)
    data = tmp_path / "..data"
    data.symlink_to("one")
    file = tmp_path / "c.yaml"
    file.symlink_to("..data/c.yaml")
    center = FileCenter(file)
    center.load()

    def swap() -> None:
        (tmp_path / "..new").symlink_to("two")
        (tmp_path / "..new").rename(data)

    assert asyncio.run(next_revision(center, swap)) == "two"

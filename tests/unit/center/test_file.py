"""A center of files: revisions by content, each change seen once, whatever way it was written."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.center import Acknowledgement, AckState, Document, RevisionCache
from loader.center import file as module
from loader.center.file import FileCenter
from loader.config.documents import merge_documents
from loader.errors import BadConfigError, ConflictError, LoaderError

LIMIT_S = 20


def open_file(path: Path) -> FileCenter:
    return FileCenter(f"file:{path}")


def load(path: Path) -> dict[str, str]:
    """Name → text, the root first."""
    return {one.name: one.text for one in asyncio.run(open_file(path).load()).documents}


async def next_news(center: FileCenter, change: Callable[[], object]) -> dict[str, str] | str:
    """What the watch tells first after `change()`: documents, or an error's message."""
    known = (await center.load()).name
    async with contextlib.aclosing(center.watch(known)) as news, asyncio.timeout(LIMIT_S):
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        change()
        item = await waiting
    return item.message if isinstance(item, LoaderError) else {one.name: one.text for one in item.documents}


def test_equal_texts_are_the_same_revision(tmp_path: Path) -> None:
    """A revision names content: neither time nor place."""
    names = []
    for folder, text in (("one", "a: 1"), ("two", "a: 2"), ("three", "a: 1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.yaml").write_text(text)
        names.append(asyncio.run(open_file(tmp_path / folder / "c.yaml").load()).name)
    assert names[0] == names[2] != names[1]


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(BadConfigError, match=r"none\.yaml: cannot be read"):
        load(tmp_path / "none.yaml")


def test_a_file_brings_what_it_includes(tmp_path: Path) -> None:
    """At any depth, relative to the including one; what is missing is the reader's business."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "c.yaml").write_text("include: [shared/a.yaml, none.yaml]")
    (tmp_path / "shared" / "a.yaml").write_text("include: b.yaml")
    (tmp_path / "shared" / "b.yaml").write_text("x: 1")
    (tmp_path / "other.yaml").write_text("x: 2")
    assert list(load(tmp_path / "c.yaml")) == ["c.yaml", "shared/a.yaml", "shared/b.yaml"]


@pytest.mark.parametrize(
    "line", ["version: 2024-13-45", "x: !!int no", "x: !!timestamp no", "? [a]\n: 1", "x: &a [*a]"]
)
def test_what_is_included_is_found_beside_a_value_that_is_none(tmp_path: Path, line: str) -> None:
    """A center looks for `include` and reads nothing else: whoever reads the values says what is wrong with them."""
    (tmp_path / "service.yaml").write_text(f"{line}\ninclude: [shared.yaml]\n")
    (tmp_path / "shared.yaml").write_text("a: 1")
    assert list(load(tmp_path / "service.yaml")) == ["service.yaml", "shared.yaml"]


def test_names_that_no_file_can_have_are_told(tmp_path: Path) -> None:
    """A watch tells them and goes on: too long, or not UTF-8."""
    file = tmp_path / "service.yaml"
    file.write_text("a: 1")
    long = f"include: [{'x' * 300}.yaml]"
    assert "File name too long" in str(asyncio.run(next_news(open_file(file), lambda: file.write_text(long))))
    file.write_text("a: 1")
    bad = tmp_path / os.fsdecode(b"\xff.yaml")

    async def scenario() -> None:
        center = open_file(tmp_path)
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news, asyncio.timeout(LIMIT_S):
            await asyncio.to_thread(bad.write_text, "b: 1")
            told = await anext(news)
            assert isinstance(told, BadConfigError)
            assert "is not UTF-8: rename that file" in told.message
            told.message.encode()
            await asyncio.to_thread(bad.unlink)
            assert not isinstance(await anext(news), LoaderError)

    asyncio.run(scenario())


def test_what_others_leave_in_the_history_is_passed_over(tmp_path: Path) -> None:
    """A file that is no entry neither ends the recording nor is removed by it."""
    (tmp_path / "service.yaml").write_text("a: 1")
    folder = tmp_path / ".loader" / "history"
    folder.mkdir(parents=True)
    (folder / "notes-of-mine.json").write_text("{}")

    async def scenario() -> None:
        center = open_file(tmp_path)
        held = await center.load()
        await center.record(held, "n1")
        held = await center.put([Document("service.yaml", "a: 2")], held.name, "me")
        assert [one.author for one in await center.history()] == ["me", "n1"]

    asyncio.run(scenario())
    assert (folder / "notes-of-mine.json").exists()


def test_a_directory_is_all_its_documents(tmp_path: Path) -> None:
    """Hidden folders, such as a ConfigMap's past, do not count; without a root it says which is missing."""
    (tmp_path / "a.yaml").write_text("x: 1")
    with pytest.raises(BadConfigError, match=r"has no service\.yaml"):
        load(tmp_path)
    (tmp_path / "service.yaml").write_text("include: a.yaml")
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "a.yaml").write_text("x: 0")
    assert list(load(tmp_path)) == ["service.yaml", "a.yaml"]


def test_a_write_in_place_is_seen(tmp_path: Path) -> None:
    """The new text comes as a revision."""
    file = tmp_path / "c.yaml"
    file.write_text("a")
    assert asyncio.run(next_news(open_file(file), lambda: file.write_text("b"))) == {"c.yaml": "b"}


def test_a_replaced_file_is_seen(tmp_path: Path) -> None:
    """Editors write a new file and rename it."""
    file, new = tmp_path / "c.yaml", tmp_path / "c.tmp"
    file.write_text("a")
    new.write_text("b")
    assert asyncio.run(next_news(open_file(file), lambda: new.rename(file))) == {"c.yaml": "b"}


def test_a_change_of_an_included_file_is_seen(tmp_path: Path) -> None:
    """Defaults shared by services are part of the revision."""
    (tmp_path / "c.yaml").write_text("include: d.yaml")
    (tmp_path / "d.yaml").write_text("x: 1")
    news = asyncio.run(
        next_news(open_file(tmp_path / "c.yaml"), lambda: (tmp_path / "d.yaml").write_text("x: 2"))
    )
    assert news == {"c.yaml": "include: d.yaml", "d.yaml": "x: 2"}


def test_a_swapped_config_map_is_seen(tmp_path: Path) -> None:
    """Kubernetes swaps the link `..data` that every file is reached through."""
    for name in ("one", "two"):
        (tmp_path / f"..{name}").mkdir()
        (tmp_path / f"..{name}" / "service.yaml").write_text(name)
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "service.yaml").symlink_to("..data/service.yaml")

    def swap() -> None:
        (tmp_path / "..new").symlink_to("..two")
        (tmp_path / "..new").rename(tmp_path / "..data")

    assert asyncio.run(next_news(open_file(tmp_path), swap)) == {"service.yaml": "two"}


def test_a_file_that_is_gone_is_told_once_and_waited_for(tmp_path: Path) -> None:
    """Trouble is told, and the same text is news after it."""
    file = tmp_path / "c.yaml"
    file.write_text("a")

    async def scenario() -> None:
        center = open_file(file)
        known = (await center.load()).name
        async with contextlib.aclosing(center.watch(known)) as news, asyncio.timeout(LIMIT_S):
            waiting = asyncio.ensure_future(anext(news))
            await asyncio.sleep(0)
            file.unlink()
            assert isinstance(await waiting, BadConfigError)
            file.write_text("a")
            back = await anext(news)
            assert not isinstance(back, LoaderError)
            assert back.root.text == "a"

    asyncio.run(scenario())


def test_a_folder_that_cannot_be_written_is_a_center_all_the_same(tmp_path: Path) -> None:
    """A ConfigMap takes no acknowledgements: they are left out."""
    (tmp_path / ".loader").write_text("a file where a folder would be")
    (tmp_path / "c.yaml").write_text("a")

    async def scenario() -> None:
        center = open_file(tmp_path / "c.yaml")
        await center.acknowledge(Acknowledgement("n", "r", AckState.APPLIED))
        await center.record(await center.load(), "n")
        assert await center.acknowledgements() == []

    asyncio.run(scenario())


def test_an_acknowledgement_of_other_types_is_none(tmp_path: Path) -> None:
    """Other programs may write there: who reads gets text where text is, and numbers."""
    (tmp_path / "c.yaml").write_text("a")
    good = {"node": "n", "revision": "r", "state": "applied"}

    async def scenario() -> None:
        center = open_file(tmp_path / "c.yaml")
        await center.acknowledge(Acknowledgement("n", "r", AckState.APPLIED))
        (said,) = (tmp_path / ".loader" / "c.yaml" / "acknowledgements").iterdir()
        for number, wrong in enumerate(({"time_s": "x"}, {"node": 5}, {"error": None}, {"duration_s": []})):
            (said.parent / f"{number}.json").write_text(json.dumps({**good, **wrong}))
        assert [one.node for one in await center.acknowledgements()] == ["n"]

    asyncio.run(scenario())


def test_a_document_outside_the_folder_is_refused(tmp_path: Path) -> None:
    """A put cannot write anywhere else."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "service.yaml").write_text("a")

    async def scenario() -> None:
        center = open_file(tmp_path / "in")
        held = await center.load()
        with pytest.raises(BadConfigError, match="outside"):
            await center.put([Document("../out.yaml", "b")], held.name, "me")
        with pytest.raises(ConflictError):
            await center.put([Document("service.yaml", "b")], "another", "me")

    asyncio.run(scenario())
    assert not (tmp_path / "out.yaml").exists()


def test_the_cache_is_whole_or_not_there(tmp_path: Path) -> None:
    """What was saved comes back; a flipped byte, a half file and another center do not."""
    (tmp_path / "service.yaml").write_text("a: 1")
    revision = asyncio.run(open_file(tmp_path / "service.yaml").load())
    cache = RevisionCache(tmp_path / "cache", "consul://h/speech")
    assert cache.load() is None
    cache.save(revision)
    assert cache.load() == revision
    assert cache.path.stat().st_mode & 0o077 == 0, "others can read it"
    whole = cache.path.read_text()
    for damaged in (whole.replace("a: 1", "a: 2"), whole[:-20], "", "[]"):
        cache.path.write_text(damaged)
        assert cache.load() is None
    cache.path.write_text(whole.replace("speech", "other"))
    assert cache.load() is None


def test_a_lock_that_another_holds_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that hangs: a put is refused with its file's name, reading goes on."""
    monkeypatch.setattr(module, "LOCK_S", 0.2)
    (tmp_path / "c.yaml").write_text("a")

    async def scenario() -> None:
        center = open_file(tmp_path / "c.yaml")
        held = await center.put([Document("c.yaml", "b")], (await center.load()).name, "me")
        with (tmp_path / ".loader" / "c.yaml" / "lock").open() as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(ConflictError, match=r"lock: another has held it"):
                await center.put([Document("c.yaml", "c")], held.name, "me")
            assert await center.load() == held
        await center.put([Document("c.yaml", "c")], held.name, "me")

    asyncio.run(scenario())


def test_what_a_path_with_dots_includes_is_found(tmp_path: Path) -> None:
    """`../conf/service.yaml` and what it includes have names that match each other."""
    for name in ("conf", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf" / "service.yaml").write_text("include: more.yaml\na: 1")
    (tmp_path / "conf" / "more.yaml").write_text("b: 1")
    center = open_file(tmp_path / "here" / ".." / "conf" / "service.yaml")
    documents = {center.origin_of(one.name): one.text for one in asyncio.run(center.load()).documents}
    assert merge_documents(documents, {}).values == {"a": 1, "b": 1}


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    """Told once; then its documents are news. The same when the folder goes and comes again."""
    folder = tmp_path / "later"
    file = folder / "service.yaml"

    async def scenario() -> None:
        async with contextlib.aclosing(open_file(file).watch("")) as news, asyncio.timeout(LIMIT_S):
            for text in ("a", "b"):
                assert isinstance(await anext(news), BadConfigError)
                folder.mkdir()
                file.write_text(text)
                found = await anext(news)
                assert not isinstance(found, LoaderError)
                assert found.root.text == text
                shutil.rmtree(folder)

    asyncio.run(scenario())


def test_what_nothing_includes_is_not_part_of_what_was_put(tmp_path: Path) -> None:
    """Of a single file's center: the revision that is returned is the one that is loaded."""
    (tmp_path / "c.yaml").write_text("a: 1")

    async def scenario() -> None:
        center = open_file(tmp_path / "c.yaml")
        held = await center.load()
        made = await center.put([Document("c.yaml", "a: 2"), Document("d.yaml", "b: 1")], held.name, "me")
        assert made == await center.load() == (await center.history())[0].revision

    asyncio.run(scenario())

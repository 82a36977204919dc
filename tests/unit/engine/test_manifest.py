"""The manifest: read without loading the wrapper; every mistake names the file and the cure."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.engine.manifest import Manifest, read_manifest
from loader.errors import BadConfigError


def wrapper(folder: Path, manifest: str, *files: str) -> Path:
    (folder / "engine.yaml").write_text(manifest)
    for name in files:
        (folder / name).write_text("")
    return folder


def test_a_folder_is_read(tmp_path: Path) -> None:
    """All four keys are taken."""
    folder = wrapper(tmp_path, "name: e\nversion: '2'\nkind: python\nentry: main.py\n", "main.py")
    assert read_manifest(folder) == Manifest("e", "2", "python", tmp_path / "main.py")


@pytest.mark.parametrize(
    ("written", "version"), [("1.10", "1.10"), ("'2.0'", "2.0"), ("2024-01-02", "2024-01-02"), ("", "1")]
)
def test_the_version_is_what_is_written(tmp_path: Path, written: str, version: str) -> None:
    """Not the number or the date that YAML makes of it."""
    folder = wrapper(tmp_path, f"kind: python\nversion: {written}\n", "wrapper.py")
    assert read_manifest(folder).version == version


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """With the byte at fault."""
    folder = wrapper(tmp_path, "", "wrapper.py")
    (folder / "engine.yaml").write_bytes(b"name: caf\xe9\nkind: python\n")
    with pytest.raises(BadConfigError, match=r"engine.yaml: is not UTF-8 text: byte 9: save it as UTF-8"):
        read_manifest(folder)


def test_the_entry_has_a_default(tmp_path: Path) -> None:
    """wrapper.py and wrapper.so need not be named."""
    assert read_manifest(wrapper(tmp_path, "kind: native\n", "wrapper.so")).entry == tmp_path / "wrapper.so"


def test_a_bare_file_needs_no_manifest(tmp_path: Path) -> None:
    """A .py or .so is told by its name."""
    file = tmp_path / "mine.py"
    file.write_text("")
    assert read_manifest(file) == Manifest("mine", "1", "python", file)


@pytest.mark.parametrize(
    ("manifest", "files", "said"),
    [
        ("kind: python\n", [], "wrapper.py does not exist"),
        ("kind: native\n", [], "build it"),
        ("kind: perl\n", [], "write `kind: python`"),
        ("kind: python\nentri: x.py\n", [], "unknown key `entri`"),
    ],
)
def test_mistakes_name_the_file_and_the_cure(
    tmp_path: Path, manifest: str, files: list[str], said: str
) -> None:
    """Refused with the manifest's path and what to do."""
    with pytest.raises(BadConfigError) as caught:
        read_manifest(wrapper(tmp_path, manifest, *files))
    assert said in str(caught.value)
    assert str(tmp_path / "engine.yaml") in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path without anything, a folder without anything, a file of another kind."""
    text = tmp_path / "a.txt"
    text.write_text("")
    for path, said in ((tmp_path / "no", "no such wrapper"), (tmp_path, "has neither"), (text, "not `.txt`")):
        with pytest.raises(BadConfigError, match=said):
            read_manifest(path)

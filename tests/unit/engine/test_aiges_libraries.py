"""AIGES wrappers are told by the names in them, found like libraries, and get a thread for each slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.config.library_path import find_library
from loader.config.schema import EngineConfig
from loader.engine.manifest import Manifest, is_aiges
from loader.engine.spec import EngineSpec

AIGES = b"\x7fELF\0wrapperInit\0wrapperExec\0"
OURS = b"\x7fELF\0loader_wrapper\0"


def library(folder: Path, content: bytes, name: str = "libwrapper.so") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "is_one"),
    [(AIGES, True), (OURS, False), (AIGES + OURS, False), (b"", False), (b"\0wrapperInitialise\0", False)],
)
def test_a_library_is_told_by_its_names(tmp_path: Path, content: bytes, is_one: bool) -> None:
    """AIGES's functions and not ours."""
    assert is_aiges(library(tmp_path, content)) is is_one
    assert not is_aiges(tmp_path / "gone.so")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("from aiges_embed import Response", True),
        ("from aiges.sdk import *", True),
        ("class Wrapper:\n    def wrapperOnceExec(self, params, reqData): ...", True),
        ("from loader import Wrapper", False),
        ("", False),
    ],
)
def test_a_module_is_told_by_what_it_names(tmp_path: Path, text: str, is_one: bool) -> None:
    """Its calls block as those of a library do: a thread for each slot."""
    (tmp_path / "wrapper.py").write_text(text)
    assert is_aiges(tmp_path / "wrapper.py") is is_one
    config = EngineConfig(wrapper=str(tmp_path), slots=100)
    spec = EngineSpec("ocr", "1", config, Manifest("ocr", "1", "python", tmp_path / "wrapper.py"))
    assert spec.threads == (100 if is_one else 32)


@pytest.mark.parametrize(
    ("content", "slots", "threads", "expected"),
    [
        (AIGES, 100, 0, 100),
        (AIGES, 5000, 0, 1024),
        (AIGES, 100, 7, 7),
        (AIGES, 4, 0, 4),
        (OURS, 100, 0, 32),
        (OURS, 4, 0, 4),
    ],
)
def test_threads_follow_the_slots_of_an_aiges_library(
    tmp_path: Path, content: bytes, slots: int, threads: int, expected: int
) -> None:
    """Each of its calls keeps a thread; what is configured decides."""
    path = library(tmp_path, content)
    config = EngineConfig(wrapper=str(path), slots=slots, threads=threads)
    assert EngineSpec("asr", "1", config, Manifest("asr", "1", "native", path)).threads == expected


def test_a_bare_name_is_looked_up_and_a_path_is_not(tmp_path: Path) -> None:
    """Beside the configuration first, then in LD_LIBRARY_PATH; an explicit path is never replaced."""
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    library(far, AIGES)
    environment = {"LD_LIBRARY_PATH": f":{tmp_path}/none:{far}"}
    assert find_library("libwrapper.so", near, environment) == str(far / "libwrapper.so")
    assert find_library("libwrapper.so", near, {}) == str(near / "libwrapper.so")
    assert find_library("./libwrapper.so", near, environment) == str(near / "libwrapper.so")
    assert find_library("other.so", near, environment) == str(near / "other.so")
    library(near, OURS)
    assert find_library("libwrapper.so", near, environment) == str(near / "libwrapper.so")

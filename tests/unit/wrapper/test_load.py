"""A file becomes a wrapper class, or is refused with the file and the cure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.host.load import BadWrapper, load_wrapper

GOOD = "from loader import Wrapper\nclass Mine(Wrapper):\n    def exec(self, request): ...\n"


@pytest.fixture(autouse=True)
def _unchanged_imports() -> Iterator[None]:
    """Loading changes sys.path and sys.modules for good; each test starts afresh."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder: Path, text: str) -> Path:
    """A folder with that wrapper.py."""
    (folder / "wrapper.py").write_text(text)
    return folder


def test_only_subclass_is_the_wrapper(tmp_path: Path) -> None:
    """Imported subclasses and Wrapper itself do not count."""
    (tmp_path / "base.py").write_text(GOOD)
    text = "from base import Mine as Other\nfrom loader import Wrapper\nclass Echo(Other): ...\n"
    assert load_wrapper(write(tmp_path, text), "wrapper.py").__name__ == "Echo"


def test_named_wrapper_wins(tmp_path: Path) -> None:
    """`wrapper = X` chooses among several."""
    text = GOOD + "class Other(Mine): ...\nwrapper = Mine\n"
    assert load_wrapper(write(tmp_path, text), "wrapper.py").__name__ == "Mine"


def test_own_folder_is_importable_and_the_current_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module beside the wrapper is found; one in the current folder is not."""
    own, current = tmp_path / "own", tmp_path / "current"
    own.mkdir()
    current.mkdir()
    (own / "beside_it.py").write_text("")
    (current / "somewhere_else.py").write_text("")
    monkeypatch.chdir(current)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in {"", "."}])
    load_wrapper(write(own, "import beside_it\n" + GOOD), "wrapper.py")
    with pytest.raises(ModuleNotFoundError, match="somewhere_else"):
        load_wrapper(write(own, "import somewhere_else\n" + GOOD), "wrapper.py")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found none derived from"),
        (GOOD + "class Second(Mine): ...\n", "found Mine, Second derived from"),
        (GOOD + "wrapper = Mine()\n", "the class, not an instance"),
        ("from loader import Wrapper\nclass Empty(Wrapper): ...\n", "defines neither exec nor create"),
        (GOOD + "    def exec_batch(self, requests): ...\n", "does not batch across sessions yet"),
        (
            GOOD + "    def load_resource(self, *given): ...\n",
            "only one of load_resource and unload_resource",
        ),
        (GOOD + "    inputs = {'x': int}\n", "the declarations of Mine are not valid: inputs"),
        (GOOD + "    inputs = ['x']\n", "the declarations of Mine are not valid"),
    ],
)
def test_bad_wrapper_is_refused_with_file_and_cure(tmp_path: Path, text: str, said: str) -> None:
    """Each refusal names the file and what to write."""
    with pytest.raises(BadWrapper) as refusal:
        load_wrapper(write(tmp_path, text), "wrapper.py")
    assert said in str(refusal.value)
    assert str(tmp_path / "wrapper.py") in str(refusal.value)


def test_missing_file_names_the_manifest_key(tmp_path: Path) -> None:
    """The cure is in engine.yaml."""
    with pytest.raises(BadWrapper, match=r"set `entry` in engine\.yaml"):
        load_wrapper(tmp_path, "wrapper.py")

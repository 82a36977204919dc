"""One running loader for the tests of its HTTP faces, with engines of every kind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).parents[1] / "client"))
sys.path.insert(0, str(Path(__file__).parents[1] / "aiges_plugin"))

from faces_service import build_library, config
from running import Running
from web_client import Web


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Its folder for temporary files is its own, so that what it leaves there is seen."""
    folder = tmp_path_factory.mktemp("faces")
    (folder / "tmp").mkdir()
    build_library(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        running = Running(folder, config())
        running.__enter__()
    try:
        yield running
    finally:
        running.__exit__(None, None, None)
    assert list((folder / "tmp").glob("loader-*")) == []


@pytest.fixture
def web(service: Running) -> Web:
    """Its HTTP port."""
    return Web(service.ready["http"])

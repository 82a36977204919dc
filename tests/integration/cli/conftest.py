"""The helpers of these tests, importable by name, and a service in each kind of center."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from services import Service, write_wrapper


@pytest.fixture(params=["file", "consul"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Service:
    """A service without loaders; its center holds the echo configuration."""
    write_wrapper(tmp_path)
    if request.param == "file":
        folder = tmp_path / "center"
        folder.mkdir()
        found = Service(tmp_path, f"file:{folder}", has_registry=False)
    else:
        agent = request.getfixturevalue("shared_consul")
        found = Service(tmp_path, agent.url(request.getfixturevalue("prefix")), has_registry=True)
    found.put(found.text())
    return found

"""Every backend of a registry, for the one suite that all of them pass."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "app"))
sys.path.insert(0, str(Path(__file__).parent))

from backends import Backend, consul_backend, file_backend


@pytest.fixture(params=["file", "consul"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Backend:
    """Every backend, empty. A third one is added here."""
    if request.param == "file":
        return file_backend(tmp_path / "registry")
    return consul_backend(request.getfixturevalue("shared_consul"), prefix)

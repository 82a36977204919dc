"""What the tests of every wrapper share: the driver of native wrappers and real recordings."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "common"))
RECORDINGS = Path("/usr/share/pocketsphinx/test/data")


@pytest.fixture(scope="session")
def goforward() -> bytes:
    """16 kHz PCM that says "go forward ten meters"."""
    path = RECORDINGS / "goforward.raw"
    if not path.is_file():
        pytest.fail(f"{path} is missing: run `apt-get install pocketsphinx-testdata`")
    return path.read_bytes()


@pytest.fixture
def library(request: pytest.FixtureRequest) -> Path:
    """The built wrapper.so beside the test."""
    path = Path(request.path).parent / "wrapper.so"
    if not path.is_file():
        pytest.fail(f"{path} is not built: configure with -DLOADER_BUILD_WRAPPERS=ON and build it")
    return path

"""Every backend of a center, for the one suite that all of them pass."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "app"))
sys.path.insert(0, str(Path(__file__).parent.parent / "finder"))
sys.path.insert(0, str(Path(__file__).parent))

from backends import Backend, consul_backend, file_backend, finder_backend
from consul_agent import ConsulAgent
from finder_console import console_of
from following import Scene
from running import Running


@pytest.fixture(params=["file", "consul"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Backend:
    """Every backend that is written from here, empty. A further one is added here."""
    return _written(request, tmp_path, prefix)


@pytest.fixture(params=["file", "consul", "finder"])
def any_backend(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Iterator[Backend]:
    """Every backend, empty; of one of them only the root is read, and others write it."""
    if request.param == "finder":
        with console_of(request.getfixturevalue("shared_zookeeper"), prefix) as console:
            yield finder_backend(console)
    else:
        yield _written(request, tmp_path, prefix)


def _written(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Backend:
    if request.param == "file":
        return file_backend(tmp_path / "center")
    return consul_backend(request.getfixturevalue("shared_consul"), prefix)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a loader from the text of its own file; it is ended with the test."""
    with ExitStack() as stack:
        yield lambda text, *arguments: stack.enter_context(Running(tmp_path, text, arguments))


@pytest.fixture
def scene(
    start_consul: Callable[..., ConsulAgent], prefix: str, tmp_path: Path, begin: Callable[..., Running]
) -> Scene:
    """A service whose Consul the test may end."""
    return Scene(start_consul(), prefix, tmp_path, begin)


@pytest.fixture
def quiet_scene(
    shared_consul: ConsulAgent, prefix: str, tmp_path: Path, begin: Callable[..., Running]
) -> Scene:
    """A service in a Consul that others use, too."""
    return Scene(shared_consul, prefix, tmp_path, begin)

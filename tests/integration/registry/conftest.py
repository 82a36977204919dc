"""Every backend of a registry, for the one suite that all of them pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "center"))
sys.path.insert(0, str(Path(__file__).parent.parent / "app"))
sys.path.insert(0, str(Path(__file__).parent.parent / "finder"))
sys.path.insert(0, str(Path(__file__).parent))

from consul_agent import ConsulAgent
from finder_console import console_of
from following import Scene
from registry_backends import LEASE_S, TTL_S, Backend, consul_backend, file_backend, finder_backend
from running import Running


@pytest.fixture(params=["file", "consul", "finder"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Iterator[Backend]:
    """Every backend, empty. A further one is added here."""
    if request.param == "finder":
        with console_of(request.getfixturevalue("shared_zookeeper"), prefix) as console:
            yield finder_backend(console)
    else:
        yield _leased(request, tmp_path, prefix, TTL_S)


@pytest.fixture(params=["file", "consul"])
def leased(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Backend:
    """Those where `beat` keeps a node; ZooKeeper knows the process itself."""
    return _leased(request, tmp_path, prefix, LEASE_S)


def _leased(request: pytest.FixtureRequest, tmp_path: Path, prefix: str, ttl_s: float) -> Backend:
    if request.param == "file":
        return file_backend(tmp_path / "registry", ttl_s)
    return consul_backend(request.getfixturevalue("shared_consul"), prefix, ttl_s)


@pytest.fixture
def scene(shared_consul: ConsulAgent, prefix: str, tmp_path: Path) -> Iterator[Scene]:
    """A service in a Consul, whose loaders are found there; they are ended with the test."""
    with ExitStack() as stack:

        def begin(text: str, *arguments: str) -> Running:
            return stack.enter_context(Running(tmp_path, text, arguments))

        yield Scene(shared_consul, prefix, tmp_path, begin)

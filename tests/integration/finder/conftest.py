"""A real ZooKeeper laid out as AIGES's finder does, with a companion and what its console would do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "app"))
sys.path.insert(0, str(Path(__file__).parent.parent / "aiges"))
sys.path.insert(0, str(Path(__file__).parent))

from finder_console import Console, console_of
from zookeeper_server import ZooKeeper


@pytest.fixture
def console(shared_zookeeper: ZooKeeper, prefix: str) -> Iterator[Console]:
    """The service of one test, in a ZooKeeper that others use, too."""
    with console_of(shared_zookeeper, prefix) as one:
        yield one


@pytest.fixture
def lone_console(start_zookeeper: Callable[[], ZooKeeper], prefix: str) -> Iterator[Console]:
    """The service of one test, in a ZooKeeper that the test may end."""
    with console_of(start_zookeeper(), prefix) as one:
        yield one

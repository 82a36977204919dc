"""Centers and wrappers that the proofs of rollouts need, and a starter of loaders."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest
from consul_agent import ConsulAgent

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "app"))

from centers import ConsulPlace, FilePlace, Place
from running import Running
from versioned import VERSIONED


@pytest.fixture
def wrapper(tmp_path: Path) -> Callable[..., Path]:
    """Writes a wrapper's module and gives its path."""

    def write(name: str = "versioned", source: str = VERSIONED) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(source))
        return path

    return write


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a loader; it is ended with the test. Each start after the first is of the same node."""
    with ExitStack() as stack:

        def run(config: str, *arguments: str) -> Running:
            return stack.enter_context(Running(tmp_path, config, arguments))

        yield run


PREFIXES = itertools.count(1)


@pytest.fixture(params=["file", "consul"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A center of each kind, with what an operator does to it."""
    if request.param == "file":
        return FilePlace(tmp_path / "center")
    agent: ConsulAgent = request.getfixturevalue("shared_consul")
    return ConsulPlace(agent, f"rollout-{next(PREFIXES)}", tmp_path / "cache")

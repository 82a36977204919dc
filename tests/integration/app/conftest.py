"""Wrappers in Python that the tests of the running loader need, and a starter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from running import Running

ECHO = """
    from loader import Session, Wrapper

    class Echo(Wrapper):
        def exec(self, request):
            return {"text": request["text"]}

        def create(self, params):
            return EchoSession()

    class EchoSession(Session):
        def write(self, frame):
            return {"text": frame["text"]}
"""


@pytest.fixture
def wrapper(tmp_path: Path) -> Callable[..., Path]:
    """Writes a wrapper's module and gives its path."""

    def write(name: str, source: str = ECHO) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(source))
        return path

    return write


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts a loader; it is ended with the test."""
    with ExitStack() as stack:

        def run(config: str, *arguments: str) -> Running:
            return stack.enter_context(Running(tmp_path, config, arguments))

        yield run

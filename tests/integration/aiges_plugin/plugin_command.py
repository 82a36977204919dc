"""The command of a child for tests, and the generated messages that it wants."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
CHILD = Path(__file__).with_name("plugin_child.py")


def command_of(code: Path, address: str) -> list[str]:
    """A child that listens at tcp, tcp:PORT or unix:PATH."""
    return [sys.executable, str(CHILD), str(code), address]


def generate(folder: Path) -> Path:
    """The messages as protoc makes them: the children know nothing of the loader's own."""
    import grpc_tools
    from grpc_tools import protoc

    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = [f"-I{ROOT / 'proto/foreign/aiges'}", f"-I{well_known}", f"--python_out={folder}"]
    assert protoc.main(["protoc", *arguments, f"--grpc_python_out={folder}", "inner.proto"]) == 0
    return folder

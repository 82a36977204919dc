"""`loader init NAME --template aiges`: a project to start from. Writes files; knows nothing of engines."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATES = Path(__file__).parent / "templates"
KNOWN = ("aiges",)
EXISTS = 3
PLACE = "@NAME@"


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the project, and of its engine.")],
    template: Annotated[str, typer.Option(help="What kind of project: aiges.")],
    path: Annotated[Path, typer.Option(help="Where its folder is made.")] = Path(),
) -> None:
    """Write a new project: a folder NAME with a wrapper, a configuration that serves it, and a README.

    Exit codes: 0 written; 2 the command line is wrong; 3 the folder exists, or cannot be
    written.
    """
    if template not in KNOWN:
        raise typer.BadParameter(f"--template {template}: known are {', '.join(KNOWN)}")
    if not name.isidentifier():
        raise typer.BadParameter(f"{name}: letters, digits and _ only, and no digit first")
    folder = path / name
    try:
        if folder.exists():
            typer.echo(f"{folder} exists: give another name, or remove it", err=True)
            raise typer.Exit(EXISTS)
        for target, data in files_of(template, name):
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / target).write_bytes(data)
            typer.echo(str(folder / target))
    except OSError as error:
        typer.echo(f"{error.filename}: cannot be written: {error.strerror}: give another --path", err=True)
        raise typer.Exit(EXISTS) from None


def files_of(template: str, name: str) -> Iterator[tuple[Path, bytes]]:
    """Every file of the project with its content."""
    root = TEMPLATES / template
    for file in sorted(one for one in root.rglob("*") if one.is_file() and one.suffix != ".pyc"):
        text = file.read_text(encoding="utf-8").replace(PLACE, name)
        yield (
            file.relative_to(root).with_suffix("") if file.suffix == ".txt" else file.relative_to(root),
            text.encode(),
        )
    yield Path("wrapper/test_data/test.png"), white_png(16)


def white_png(size: int) -> bytes:
    """A white square, for a first run."""
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * size) * size)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""`loader include`: where the headers for wrappers in C and C++ lie in this installation."""

from __future__ import annotations

from pathlib import Path

import typer


def include() -> None:
    """Print the folder of `loader/wrapper.h` and `loader/wrapper.hpp`, for `-I`."""
    try:
        from loader import _core
    except ImportError:
        typer.echo("this installation is for the client alone: install without LOADER_CLIENT_ONLY", err=True)
        raise typer.Exit(1) from None
    typer.echo(Path(_core.__file__ or "").parent / "include")

"""`loader version`: the version of this installation and of its native parts."""

from __future__ import annotations

import typer

import loader


def version() -> None:
    """Print the version."""
    try:
        from loader import _core
    except ImportError:
        typer.echo(f"engine-loader {loader.__version__} (client only)")
    else:
        typer.echo(
            f"engine-loader {loader.__version__} (native parts {getattr(_core, '__version__', 'unknown')})"
        )

"""`loader import-aiges aiges.toml`: an AIGES configuration as ours, with comments. Starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BAD = 3


def import_aiges(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The aiges.toml.")],
    service: Annotated[
        str,
        typer.Option(
            "-s",
            "--service",
            metavar="NAME",
            help="Its service's section. Not needed where it is the only one.",
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write here, not to standard output."),
    ] = None,
) -> None:
    """Write an AIGES configuration as a configuration of ours.

    A comment stands at every key that means something else here, is ignored or is not supported. The wrapper is looked
    for as AIGES does: AIGES_PLUGIN_MODE, LD_LIBRARY_PATH, PYTHONPATH and the current folder.
    Exit codes: 0 written; 2 the command line is wrong; 3 the file is not valid, or cannot be written.
    """
    import os

    from loader.compat.aiges_toml.convert import convert
    from loader.compat.aiges_toml.place import Place, read_text
    from loader.errors import BadConfigError

    try:
        place = Place(file.absolute().parent, Path.cwd(), os.environ)
        text = convert(read_text(file), str(file), service, place).text
        if output is None:
            typer.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8")
    except BadConfigError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(BAD) from None
    except OSError as error:
        typer.echo(f"{output}: cannot be written: {error.strerror}", err=True)
        raise typer.Exit(BAD) from None

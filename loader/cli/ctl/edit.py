"""`loader ctl edit`: a document of the center in an editor; what is refused is kept and named."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from loader.cli.ctl.changing import How, change
from loader.cli.operating import CenterUrl, ConfigFile, Message, Where, Yes, run, where
from loader.cli.output import Output, OutputForm


def edit(
    name: Annotated[str, typer.Argument(help="The document; the root without it.")] = "",
    message: Message = "",
    yes: Yes = False,
    center: CenterUrl = "",
    config: ConfigFile = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """Edit a document of the center in $VISUAL or $EDITOR, then put it as `put` does.

    An edit that is refused stays in a file that is named. Exit codes: as `put`.
    """
    run(_edit(where(center, config), name, How(message, yes, None, output)))


async def _edit(place: Where, name: str, how: How) -> int:
    from loader.center import Document
    from loader.cli.check import read_text
    from loader.errors import LoaderError

    async with place.site() as site:
        held = await site.load()
        wanted = name or site.root
        before = next((one.text for one in held.documents if one.name == wanted), "") if held else ""
        handle, path = tempfile.mkstemp(suffix=f"-{Path(wanted).name}", prefix="loader-")
        with os.fdopen(handle, "w") as file:
            file.write(before)
        is_done = False
        try:
            run_editor(path)
            code = await change(place, site, held, [Document(wanted, read_text(Path(path)))], how)
            is_done = True
        except (LoaderError, typer.Exit):
            typer.echo(
                f"your edit is kept: {path}: correct it, then `loader ctl put {path} --as {wanted}`", err=True
            )
            raise
        finally:
            if is_done:
                os.unlink(path)  # noqa: PTH108 - nothing else runs on this loop
    return code


def run_editor(path: str) -> None:
    """Raises: InvalidArgumentError where there is no editor, or it fails."""
    from loader.errors import InvalidArgumentError

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(editor), path], check=False).returncode
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"the editor `{editor}` cannot be started: {error}: set EDITOR") from None
    if code != 0:
        raise InvalidArgumentError(f"the editor `{editor}` ended with {code}: nothing was changed")

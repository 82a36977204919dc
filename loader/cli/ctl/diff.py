"""`loader ctl diff`: what changed in the texts from one revision to another."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.operating import CenterUrl, ConfigFile, Exit, Where, run, where
from loader.cli.output import Output, OutputForm, console, show

if TYPE_CHECKING:
    from loader.center import Revision

COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def diff(
    old: Annotated[
        str, typer.Argument(metavar="REV", help="A revision; the one before the newest without it.")
    ] = "",
    new: Annotated[
        str, typer.Argument(metavar="REV", help="Another; what the center holds without it.")
    ] = "",
    center: CenterUrl = "",
    config: ConfigFile = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """Show what changed in the documents between two revisions.

    Exit codes: 0 no difference; 1 the center does not answer; 2 the command line is wrong; 6 a difference.
    """
    run(_diff(where(center, config), old, new, output))


async def _diff(place: Where, old: str, new: str, output: Output) -> int:
    async with place.site() as site:
        before = await (site.revision_named(old) if old else site.previous())
        after = await (site.revision_named(new) if new else site.load_some())
    found = differences(before, after)
    if output is Output.TABLE:
        from rich.text import Text

        for one in found:
            for line in one["lines"]:
                style = "bold" if line.startswith(("+++", "---")) else COLOURS.get(line[:1], "")
                console().print(Text(line, style), soft_wrap=True)
    else:
        show({"from": before.name, "to": after.name, "documents": found}, output)
    return Exit.CHANGES if found else Exit.OK


def differences(before: Revision, after: Revision) -> list[dict[str, Any]]:
    """The unified differences of each document that changed."""
    old = {one.name: one.text for one in before.documents}
    new = {one.name: one.text for one in after.documents}
    found = []
    for name in dict.fromkeys((*old, *new)):
        lines = difflib.unified_diff(
            old.get(name, "").splitlines(),
            new.get(name, "").splitlines(),
            f"{before.name}/{name}",
            f"{after.name}/{name}",
            lineterm="",
        )
        if old.get(name) != new.get(name):
            found.append({"name": name, "lines": list(lines)})
    return found

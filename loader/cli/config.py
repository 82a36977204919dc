"""`loader config show FILE|URL`: what a configuration says once all its documents are one, and where it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.operating import Exit, opened_site, run
from loader.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.center import Document as Text
    from loader.config.document import Document

group = typer.Typer(no_args_is_help=True, help="Show a configuration.")


@group.command("show")
def show(
    source: Annotated[str, typer.Argument(metavar="FILE|URL", help="Configuration, or where its center is.")],
    effective: Annotated[bool, typer.Option("--effective", help="All documents as one.")] = False,
    origin: Annotated[
        bool, typer.Option("--origin", help="Where each key is written; implies --effective.")
    ] = False,
    output: OutputForm = Output.TABLE,
) -> None:
    """Show the documents of a configuration, or with --effective what they say together.

    What came from the environment is shown as `***`. Keys that nobody wrote have their defaults and are not shown.
    Exit codes: 0 shown, and valid; 1 the center does not answer; 3 it is not valid, and why.
    """
    run(_show(source, is_effective=effective or origin, has_origins=origin, output=output))


async def _show(source: str, *, is_effective: bool, has_origins: bool, output: Output) -> int:
    from loader.errors import BadConfigError

    async with opened_site(source) as site:
        revision = await site.load_some()
        if not is_effective:
            print_documents(revision.name, revision.documents, output)
            return Exit.OK
        document = site.document(revision)
        _print_effective(document, revision.name, output, has_origins=has_origins)
        try:
            site.read(revision)
        except BadConfigError as error:
            typer.echo(error.message, err=True)
            return Exit.CONFIG
    return Exit.OK


def print_documents(revision: str, documents: Sequence[Text], output: Output) -> None:
    """The texts as they are; several with their names above them."""
    from loader.cli.output import show as show_value

    if output is not Output.TABLE:
        show_value({"revision": revision, "documents": {one.name: one.text for one in documents}}, output)
        return
    for one in documents:
        if len(documents) > 1:
            typer.echo(f"# ---- {one.name}")
        typer.echo(one.text, nl=not one.text.endswith("\n"))


def _print_effective(document: Document, revision: str, output: Output, *, has_origins: bool) -> None:
    from loader.cli.output import console
    from loader.cli.output import show as show_value
    from loader.operate.show import lines, masked, origins

    if output is not Output.TABLE:
        value = {"revision": revision, "values": masked(document)}
        show_value(value | ({"origins": origins(document)} if has_origins else {}), output)
        return
    from rich.text import Text

    found = list(lines(document))
    width = max((len(one.text) for one in found), default=0)
    out = console()
    for one in found:
        text = Text(one.text)
        if has_origins:
            text.append(" " * (width - len(one.text) + 2) + f"# {one.origin}", "dim")
            text.append(", from the environment" if one.is_secret else "", "dim")
        out.print(text, soft_wrap=True)

"""`loader ctl get`: the documents of the center, or of a revision, as they are."""

from __future__ import annotations

from typing import Annotated

import typer

from loader.cli.config import print_documents
from loader.cli.operating import CenterUrl, ConfigFile, Exit, Where, run, where
from loader.cli.output import Output, OutputForm


def get(
    name: Annotated[str, typer.Argument(help="One document; all of them without it.")] = "",
    revision: Annotated[str, typer.Option(help="Of the history; its first characters do.")] = "",
    center: CenterUrl = "",
    config: ConfigFile = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """Print the configuration as it is written in the center.

    Exit codes: 0 printed; 1 the center does not answer; 2 the command line is wrong; 3 there is no configuration.
    """
    run(_get(where(center, config), name, revision, output))


async def _get(place: Where, name: str, wanted: str, output: Output) -> int:
    from loader.errors import InvalidArgumentError

    async with place.site() as site:
        found = await site.revision_named(wanted) if wanted else await site.load_some()
    if name:
        documents = tuple(one for one in found.documents if one.name == name)
        if not documents:
            known = ", ".join(one.name for one in found.documents)
            raise InvalidArgumentError(f"document {name} is not in revision {found.name}: there are {known}")
        print_documents(found.name, documents, output)
    else:
        print_documents(found.name, found.documents, output)
    return Exit.OK

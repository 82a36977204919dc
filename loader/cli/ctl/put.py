"""`loader ctl put FILE`: a file, with what it includes, becomes the configuration of the center."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.ctl.changing import How, change
from loader.cli.operating import CenterUrl, ConfigFile, Message, Where, Yes, run, where
from loader.cli.output import Output, OutputForm

if TYPE_CHECKING:
    from loader.center import Document

SourceFile = Annotated[str, typer.Argument(metavar="FILE|DIR", help="With everything that it includes.")]
DocumentName = Annotated[
    str, typer.Option("--as", metavar="NAME", help="Put FILE alone, as the document of this name.")
]


def put(
    file: SourceFile,
    name: DocumentName = "",
    message: Message = "",
    yes: Yes = False,
    center: CenterUrl = "",
    config: ConfigFile = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """Put a configuration into the center: checked, shown as a plan, agreed to, and only over what was read.

    Documents of the center that FILE does not name stay. The loaders follow by themselves; `loader ctl apply
    --wait` and `loader status` tell what became of it. Exit codes: 0 put, or nothing changes; 1 the center does
    not answer, or not agreed to; 2 the command line is wrong; 3 it is not valid; 10 somebody else changed the
    configuration meanwhile.
    """
    run(put_file(where(center, config), file, name, How(message, yes, None, output)))


async def put_file(place: Where, file: str, name: str, how: How) -> int:
    """Puts a file; also for `apply`."""
    async with place.site() as site:
        changes = await documents_of(file, name, site.root)
        return await change(place, site, await site.load(), changes, how)


async def documents_of(file: str, name: str, root: str) -> list[Document]:
    """The documents in a file or a directory, its root with the center's name. Raises: BadConfigError."""
    from pathlib import Path

    from loader.center import Document, open_center
    from loader.cli.check import read_text
    from loader.consul_link import ConsulAccess

    if name:
        return [Document(name, read_text(Path(file)))]
    source = open_center(f"file:{file}", ConsulAccess())
    found = await source.load()
    await source.close()
    return [Document(root, found.root.text), *found.documents[1:]]

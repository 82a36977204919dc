"""`loader ctl forget`: what nodes said that are gone for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.ctl.changing import agree
from loader.cli.operating import CenterUrl, ConfigFile, Exit, Where, Yes, run, where
from loader.cli.output import Output, OutputForm, show

if TYPE_CHECKING:
    from loader.operate.site import Site


def forget(
    node: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NODE]...", help="Without any: all that are not announced in the registry."),
    ] = None,
    yes: Yes = False,
    center: CenterUrl = "",
    config: ConfigFile = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """Forget nodes that are gone for good: `loader status` does not show them any more, and nobody waits for them.

    A loader that drains is not announced either, and is not found by its name then until it says something again.
    Exit codes: 0 forgotten; 1 the center or the registry does not answer, or not agreed to; 2 the command line is
    wrong, there is no such node, or no registry to say who is gone.
    """
    run(_forget(where(center, config), node or [], output, is_agreed=yes))


async def _forget(place: Where, names: list[str], output: Output, *, is_agreed: bool) -> int:
    from loader.errors import InvalidArgumentError

    async with place.site() as site:
        known = [one.node for one in await site.center.acknowledgements()]
        gone = names or await _gone(place, site, known)
        unknown = [name for name in gone if name not in known]
        if unknown:
            raise InvalidArgumentError(
                f"node {unknown[0]} has said nothing to {site.center.url}: there are {', '.join(known) or 'none'}"
            )
        if gone and not is_agreed:
            agree(f"Forget {', '.join(gone)}?")
        for name in gone:
            await site.center.forget(name)
    if output is Output.TABLE:
        typer.echo(f"forgotten: {', '.join(gone) or 'nobody'}")
    else:
        show({"forgotten": gone}, output)
    return Exit.OK


async def _gone(place: Where, site: Site, known: list[str]) -> list[str]:
    from loader.errors import InvalidArgumentError

    async with place.nodes(site) as nodes:
        if nodes.registry is None:
            raise InvalidArgumentError("the service has no registry to say who is gone: name the nodes")
        announced = {one.node for one in await nodes.registry.nodes()}
    return [name for name in known if name not in announced]

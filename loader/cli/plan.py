"""`loader plan NEW`: what a change of the configuration would do, before it does it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.operating import Exit, opened_site, run
from loader.cli.output import Output, OutputForm, console, show
from loader.cli.plan_view import plan_values, print_plan

if TYPE_CHECKING:
    from loader.config import Plan
    from loader.operate.site import Read, Site

ADDRESS = re.compile(r"^[^/]*:\d+$")


def plan(
    new: Annotated[str, typer.Argument(metavar="FILE|URL", help="The configuration that is wanted.")],
    old: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="FILE|URL|HOST:PORT",
            help="What it is compared with: a configuration, or a running loader. Else what the loaders of "
            "the wanted configuration's own center say they serve, or nothing.",
        ),
    ] = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """Show what it takes to get from one configuration to another; changes nothing.

    A running loader tells its revision only: the documents are taken from the history of the wanted
    configuration's center. Exit codes: 0 nothing changes; 1 something does not answer; 2 the command line is
    wrong; 3 a configuration is not valid; 6 something changes; 7 a change needs a new loader.
    """
    run(_plan(new, old, output))


async def _plan(new: str, old: str, output: Output) -> int:
    from loader.operate.site import plan_between

    async with opened_site(new) as site:
        wanted = site.read(await site.load_some())
        before = await _before(site, old)
        made = plan_between(before, wanted)
    remarks = wanted.remarks if before is None else (*before.remarks, *wanted.remarks)
    if before is None:
        remarks = (*remarks, "compared with nothing: no loader says that it serves; --from names another")
    if output is Output.TABLE:
        print_plan(console(), made, remarks)
    else:
        show(plan_values(made, remarks), output)
    return plan_code(made)


def plan_code(made: Plan) -> Exit:
    """What a plan means for the exit code."""
    if made.loader:
        return Exit.NEW_LOADER
    return Exit.OK if made.is_empty else Exit.CHANGES


async def _before(site: Site, old: str) -> Read | None:
    if not old:
        said = [one for one in await site.center.acknowledgements() if one.serving]
        newest = max(said, key=lambda one: one.time_s, default=None)
        return site.read(await site.revision_named(newest.serving)) if newest else None
    if ADDRESS.match(old):
        return site.read(await site.revision_named(await _served_at(old)))
    async with opened_site(old) as other:
        return other.read(await other.load_some())


async def _served_at(address: str) -> str:
    from loader.consul_link import ConsulAccess
    from loader.operate.nodes import open_nodes
    from loader.v1 import admin_pb2

    async with open_nodes((address,), "", ConsulAccess()) as nodes:
        answers = await nodes.each("ListEngines", admin_pb2.ListEnginesRequest())
    return str(answers[0][1].revision)

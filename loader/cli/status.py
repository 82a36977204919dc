"""`loader status`: what became of the configuration on every node, once or followed live."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.operating import CenterUrl, ConfigFile, Exit, run, where
from loader.cli.output import Column, Output, OutputForm, age, console, show, span, table_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from loader.cli.operating import Where
    from loader.operate.site import Site

LOOK_S = 0.5
COLUMNS = (
    "node",
    "state",
    "revision",
    "serving",
    Column("took", is_right=True),
    Column("age", is_right=True),
    "error",
)


def status(
    center: CenterUrl = "",
    config: ConfigFile = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow live, until Ctrl-C.")] = False,
    output: OutputForm = Output.TABLE,
) -> None:
    """Show what every node says of the configuration: node, state, revision, what serves, duration, age, error.

    With --watch JSON and YAML are printed at each change. Exit codes: 0 all nodes serve what the center holds;
    1 the center does not answer; 2 the command line is wrong; 8 some node does not, or none has said anything.
    """
    place = where(center, config)
    run(_watch(place, output) if watch else _once(place, output))


async def _once(place: Where, output: Output) -> int:
    async with place.site() as site:
        found = await look(site)
    if output is Output.TABLE:
        console().print(_table(found))
    else:
        show(found, output)
    is_good = found["nodes"] and all(
        one["state"] == "applied" and one["serving"] == found["revision"] for one in found["nodes"]
    )
    return Exit.OK if is_good else Exit.NOT_APPLIED


async def _watch(place: Where, output: Output) -> int:
    from rich.live import Live

    from loader.errors import CenterUnreachableError

    async with place.site() as site:
        told: Any = None
        live = Live(console=console(), auto_refresh=False) if output is Output.TABLE else None
        if live:
            live.start()
        try:
            while True:
                try:
                    found = await look(site)
                except CenterUnreachableError as error:
                    found = {"center": site.center.url, "revision": "", "error": error.message, "nodes": []}
                if live:
                    live.update(_table(found), refresh=True)
                elif found != told:
                    show(found, output)
                told = found
                await asyncio.sleep(LOOK_S)
        finally:
            if live:
                live.stop()


async def look(site: Site) -> dict[str, Any]:
    """The center's revision and what each node said last."""
    from loader.errors import BadConfigError

    error = ""
    try:
        revision = (await site.load_some()).name
    except BadConfigError as failure:
        revision, error = "", failure.message
    nodes = [
        {
            "node": one.node,
            "state": one.state.value,
            "revision": one.revision,
            "serving": one.serving,
            "duration_s": round(one.duration_s, 3),
            "time_s": round(one.time_s, 3),
            "error": one.error,
        }
        for one in await site.center.acknowledgements()
    ]
    return {"center": site.center.url, "revision": revision, "error": error, "nodes": nodes}


def _table(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = [one | {"took": span(one["duration_s"]), "age": age(one["time_s"])} for one in found["nodes"]]
    head = Text.assemble((found["center"], "bold"), f" holds revision {found['revision'] or 'nothing'}")
    parts: list[RenderableType] = [head]
    if found["error"]:
        parts.append(Text(found["error"], "red"))
    parts.append(table_of(rows, COLUMNS) if rows else Text("no node has said anything yet", "dim"))
    return Group(*parts)

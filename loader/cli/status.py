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
    from loader.registry import Registry

LOOK_S = 0.5
COLUMNS = (
    "node",
    "announced",
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
    """Show what every node said last of the configuration: state, revision, what serves, duration, age, error.

    A node that is not announced in the registry drains, has ended, or is dead. With --watch JSON and YAML are printed
    at each change. Exit codes: 0 all nodes serve what the center holds, where there is a registry all that are
    announced; 1 the center does not answer; 2 the command line is wrong; 8 some node does not, or none is there.
    """
    place = where(center, config)
    run(_watch(place, output) if watch else _once(place, output))


async def _once(place: Where, output: Output) -> int:
    async with place.site() as site, Announced(site) as announced:
        found = await look(site, announced)
    if output is Output.TABLE:
        console().print(_table(found))
    else:
        show(found, output)
    counted = [one for one in found["nodes"] if one["is_announced"] is not False]
    is_good = counted and all(
        one["state"] == "applied" and one["serving"] == found["revision"] for one in counted
    )
    return Exit.OK if is_good else Exit.NOT_APPLIED


async def _watch(place: Where, output: Output) -> int:
    from rich.live import Live

    from loader.errors import CenterUnreachableError

    async with place.site() as site, Announced(site) as announced:
        told: Any = None
        live = Live(console=console(), auto_refresh=False) if output is Output.TABLE else None
        if live:
            live.start()
        try:
            while True:
                try:
                    found = await look(site, announced)
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


async def look(site: Site, announced: Announced) -> dict[str, Any]:
    """The center's revision, what each node said last, and whether it is announced; None: nobody knows."""
    from loader.errors import BadConfigError

    error = ""
    try:
        revision = (await site.load_some()).name
    except BadConfigError as failure:
        revision, error = "", failure.message
    names = await announced.names()
    nodes = [
        {
            "node": one.node,
            "is_announced": None if names is None else one.node in names,
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


class Announced:
    """Who is announced. The registry stays open: a folder shows by its changes only who lives."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._url = ""
        self._registry: Registry | None = None

    async def __aenter__(self) -> Announced:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._registry is not None:
            await self._registry.close()

    async def names(self) -> set[str] | None:
        """None: nobody knows."""
        from loader.errors import RegistryUnreachableError
        from loader.registry import open_registry

        url = await self._site.registry_url()
        if url != self._url:  # the configuration names another
            await self.__aexit__()
            self._registry = open_registry(url, self._site.bootstrap.access) if url else None
            self._url = url
        try:
            return {one.node for one in await self._registry.nodes()} if self._registry else None
        except RegistryUnreachableError:
            return None


def _table(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = [
        one
        | {"took": span(one["duration_s"]), "age": age(one["time_s"])}
        | {"announced": {None: "?", False: "no", True: "yes"}[one["is_announced"]]}
        for one in found["nodes"]
    ]
    head = Text.assemble((found["center"], "bold"), f" holds revision {found['revision'] or 'nothing'}")
    parts: list[RenderableType] = [head]
    if found["error"]:
        parts.append(Text(found["error"], "red"))
    parts.append(table_of(rows, COLUMNS) if rows else Text("no node has said anything yet", "dim"))
    return Group(*parts)

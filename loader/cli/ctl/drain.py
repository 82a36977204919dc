"""`loader ctl drain` and `loader ctl undrain`: a loader takes no new work, and takes it again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import CenterUrl, ConfigFile, Exit, Where, run, seconds, where
from loader.cli.output import Output, OutputForm, console, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from loader.operate.nodes import Node, Nodes
    from loader.operate.site import Site

LOOK_S = 0.3

Which = Annotated[
    str, typer.Argument(metavar="NODE|HOST:PORT", help="Its name in the registry, or its address.")
]


def drain(
    node: Which,
    timeout: Annotated[
        str, typer.Option("--timeout", help="Then open sessions are closed: 90s, 5m. Else drain_timeout_s.")
    ] = "",
    end: Annotated[
        bool, typer.Option("--end", help="The loader ends then; else it stays for `undrain`.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until no session is open.")] = False,
    center: CenterUrl = "",
    config: ConfigFile = "",
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Let a loader take no new work: it leaves the registry, its readiness turns red, open sessions go on.

    Exit codes: 0 it drains; 1 it does not answer; 2 the command line is wrong, or there is no such node.
    """
    limit_s = seconds(timeout, "--timeout") if timeout else None
    run(
        _drain(where(center, config, None, ca, certificate, key), node, limit_s, output, ends=end, waits=wait)
    )


def undrain(
    node: Which,
    center: CenterUrl = "",
    config: ConfigFile = "",
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Let a loader that drains take new work again. It is not announced: it is asked where it was when it last was.

    Exit codes: as `drain`.
    """
    run(_undrain(where(center, config, None, ca, certificate, key), node, output))


@asynccontextmanager
async def _found(place: Where, name: str) -> AsyncIterator[tuple[Nodes, Node]]:
    """The loader with a name or an address; an address wants no center."""
    from loader.operate.nodes import Node

    if ":" in name:
        async with replace(place, addresses=(name,)).nodes() as nodes:
            yield nodes, Node(name, name)
        return
    if not place.center and not place.config:
        raise typer.BadParameter(
            f"{name} is no HOST:PORT: give --center URL or --config FILE to find a node by name"
        )
    async with place.site() as site, place.nodes(site) as nodes:
        yield nodes, await _named(nodes, site, name)


async def _named(nodes: Nodes, site: Site, name: str) -> Node:
    """The one that is announced or, as one that drains is not, the one where it said that it is."""
    from loader.errors import InvalidArgumentError
    from loader.operate.nodes import Node
    from loader.v1 import admin_pb2

    try:
        return await nodes.one(name)
    except InvalidArgumentError:
        said = {one.node: one.address for one in await site.center.acknowledgements()}
        if not said.get(name):
            raise
    node = Node(name, said[name])
    answer = await nodes.call(node, "ListEngines", admin_pb2.ListEnginesRequest())
    if answer.node != name:
        raise InvalidArgumentError(
            f"{name} is not announced, and {answer.node} is where it was: {node.address}"
        )
    return node


async def _drain(
    place: Where, name: str, limit_s: float | None, output: Output, *, ends: bool, waits: bool
) -> int:
    from loader.v1 import admin_pb2

    async with _found(place, name) as (nodes, node):
        answer = await nodes.call(node, "Drain", admin_pb2.DrainRequest(timeout_s=limit_s, stay=not ends))
        left = answer.open_sessions
        if waits:
            left = await _emptied(nodes, node, left, ends=ends)
    value = {"node": node.name, "address": node.address, "open_sessions": left, "ends": ends}
    if output is Output.TABLE:
        cure = "" if ends else f"; `loader ctl undrain {node.name}` lets it work again"
        typer.echo(f"{node.name} takes no new work, {left} sessions are open{cure}")
    else:
        show(value, output)
    return Exit.OK


async def _emptied(nodes: Nodes, node: Node, left: int, *, ends: bool) -> int:
    """Until no session is open there; a loader that ends is gone then."""
    from rich.progress import Progress

    from loader.operate.nodes import NodeError
    from loader.v1 import admin_pb2

    out = console(is_error=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(f"drain {node.name}", total=max(left, 1))
        while True:
            try:
                answer = await nodes.call(node, "ListSessions", admin_pb2.ListSessionsRequest())
            except NodeError:
                if ends:
                    return 0
                raise
            open_now = len(answer.sessions)
            progress.update(task, completed=max(left - open_now, 0))
            if open_now == 0:
                return 0
            await asyncio.sleep(LOOK_S)


async def _undrain(place: Where, name: str, output: Output) -> int:
    from loader.v1 import admin_pb2

    async with _found(place, name) as (nodes, node):
        await nodes.call(node, "Undrain", admin_pb2.UndrainRequest())
    if output is Output.TABLE:
        typer.echo(f"{node.name} takes new work")
    else:
        show({"node": node.name, "address": node.address}, output)
    return Exit.OK

"""`loader ctl events`: what happens on the loaders, as it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import Addresses, CenterUrl, ConfigFile, Exit, Where, run, where
from loader.cli.output import Output, OutputForm, console, local_time, show

if TYPE_CHECKING:
    from loader.operate.nodes import Node, Nodes

COLOURS = {"host_died": "red", "rollout": "cyan", "drain": "yellow", "center": "yellow", "registry": "yellow"}


def events(
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Follow the events of every loader that is there now, until Ctrl-C or until all have ended.

    JSON is one object a line, YAML one document an event. Exit codes: 0 all loaders have ended; 1 none answers;
    2 the command line is wrong; 130 interrupted.
    """
    run(_events(where(center, config, address, ca, certificate, key), output))


async def _events(place: Where, output: Output) -> int:
    from loader.operate.nodes import NodeError

    async with place.nodes() as nodes:
        known = await nodes.all()
        ends = await asyncio.gather(*(_follow(nodes, node, output) for node in known), return_exceptions=True)
    for end in ends:
        if isinstance(end, NodeError):
            typer.echo(end.message, err=True)
        elif isinstance(end, BaseException):
            raise end
    return Exit.FAILED if all(isinstance(end, NodeError) for end in ends) else Exit.OK


async def _follow(nodes: Nodes, node: Node, output: Output) -> None:
    from loader.v1 import admin_pb2

    async for event in nodes.stream(node, "WatchEvents", admin_pb2.WatchEventsRequest()):
        row = {
            "node": node.name,
            "kind": event.kind,
            "engine": event.engine,
            "message": event.message,
            "time_s": round(event.time_s, 3),
        }
        _print(row, output)


def _print(row: dict[str, Any], output: Output) -> None:
    if output is Output.TABLE:
        from rich.text import Text

        text = Text.assemble(
            (local_time(row["time_s"]), "dim"),
            f"  {row['node']}  ",
            (f"{row['kind']:<15}", COLOURS.get(row["kind"], "")),
            f"{row['engine']} {row['message']}",
        )
        console().print(text, soft_wrap=True)
        return
    if output is Output.YAML:
        typer.echo("---")
    show(row, output)

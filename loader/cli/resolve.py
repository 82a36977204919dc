"""`loader resolve URL [ENGINE]`: the addresses that a registry names, for clients that are not ours."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loader.registry import EngineEntry, NodeEntry


class Form(StrEnum):
    """What is printed."""

    TEXT = "text"
    JSON = "json"


def resolve(
    url: Annotated[
        str,
        typer.Argument(metavar="URL", help="consul://HOST:PORT/SERVICE, file:DIRECTORY or finder:http://…."),
    ],
    engine: Annotated[
        str, typer.Argument(metavar="[ENGINE]", help="Name of an engine; any without it.")
    ] = "",
    selector: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A capability that the engine must announce; repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label of the caller; repeatable.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version of the engine.")] = "",
    zone: Annotated[str, typer.Option(help="Nodes of this zone come first.")] = "",
    output: Annotated[
        Form, typer.Option("--output", "-o", help="text: HOST:PORT, one a line; json: with what is known.")
    ] = Form.TEXT,
    token: Annotated[
        str, typer.Option(envvar="CONSUL_HTTP_TOKEN", show_envvar=True, help="Consul's token.")
    ] = "",
) -> None:
    """Print the loaders that serve an engine, the best first: own zone, free slots. For stubs in other languages.

    Exit codes: 0 printed; 1 no node serves it, or the registry does not answer; 2 the command line is wrong.
    """
    from loader.client.discovery import Nodes
    from loader.client.messages import Target
    from loader.client.watching import is_registry
    from loader.errors import LoaderError

    if not is_registry(url):
        raise typer.BadParameter(
            f"{url}: is no registry: write consul://HOST:PORT/SERVICE, file:DIRECTORY or "
            "finder:http://COMPANION:6868/PROJECT/GROUP/SERVICE"
        )
    target = Target(engine, version, pairs("--selector", selector), pairs("--label", label))
    try:
        entries = asyncio.run(listed(url, token))
    except LoaderError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(1) from None
    nodes = Nodes(zone)
    nodes.update(entries)
    found = nodes.ranked(target)
    if output is Form.JSON:
        typer.echo(json.dumps([row(entry, engines) for entry, engines in found], ensure_ascii=False))
    else:
        for entry, _ in found:
            typer.echo(entry.address)
    if not found:
        typer.echo(f"{url}: none of {len(entries)} nodes serves {target}", err=True)
        raise typer.Exit(1)


async def listed(url: str, token: str) -> list[NodeEntry]:
    """The nodes that live now. Raises: LoaderError."""
    from loader.consul_link import ConsulAccess
    from loader.registry import open_registry

    registry = open_registry(url, ConsulAccess(token))
    try:
        return await registry.nodes()
    finally:
        await registry.close()


def pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    """Raises: BadParameter for what is not key=value."""
    found = {}
    for text in texts or []:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise typer.BadParameter(f"{option} {text}: write key=value")
        found[key] = value
    return found


def row(entry: NodeEntry, engines: list[EngineEntry]) -> dict[str, Any]:
    """One node, with the versions that would serve the call."""
    return {**asdict(entry), "engines": [asdict(one) for one in engines]}

"""`loader ctl resource`: personal resources of an engine, on every loader that serves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import Addresses, CenterUrl, ConfigFile, Exit, Where, run, seconds, told, where
from loader.cli.output import Column, Output, OutputForm, show, show_rows

if TYPE_CHECKING:
    from loader.operate.nodes import Node, NodeError, Nodes

COLUMNS = (
    "node", "engine", Column("id", is_right=True), "key", Column("size_bytes", is_right=True), "state",
    "instances", "attributes",
)  # fmt: skip

MOST_NUMBER = (1 << 32) - 1

Engine = Annotated[str, typer.Argument(help="Name of the engine.")]
Limit = Annotated[str, typer.Option("--timeout", help="The longest wait for one loader: 90s, 5m.")]


def load(
    engine: Engine,
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="What the engine gets.")
    ],
    number: Annotated[
        int | None,
        typer.Option(
            "--id", min=1, max=MOST_NUMBER, help="What sessions name in resource_ids. Else a new one."
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Its key, which the engine knows it by. Else the file's name.")
    ] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", metavar="NAME=VALUE", help="Of its description; repeatable."),
    ] = None,
    timeout: Limit = "30s",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Load a file as a personal resource into every instance of an engine, under one id on all loaders.

    Where one loader refuses, it is taken back from the others. A loader that starts later, or again, has none.
    Exit codes: 0 it is loaded everywhere; 1 some loader refused it, or does not answer; 2 the command line is wrong.
    """
    place = where(center, config, address, ca, certificate, key)
    attributes = dict(_pair(one) for one in attribute or ())
    limit_s = seconds(timeout, "--timeout")
    run(_load(place, engine, number or 0, name or file.name, file.read_bytes(), attributes, limit_s, output))


def unload(
    engine: Engine,
    number: Annotated[int, typer.Argument(metavar="ID", min=1, help="As `loader ctl resource list` has it.")],
    timeout: Limit = "30s",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Unload a personal resource: no new session may name it, and it goes when those that use it have ended.

    Exit codes: 0 it is gone; 1 no loader has it, or one does not answer; 2 the command line is wrong; 9 sessions
    use it still: it goes when they have ended.
    """
    place = where(center, config, address, ca, certificate, key)
    run(_unload(place, engine, number, seconds(timeout, "--timeout"), output))


def list_(
    engine: Annotated[str, typer.Argument(help="Of one engine; of all without it.")] = "",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """List personal resources on every loader, with the instances that have them.

    Exit codes: as `loader ctl engines`.
    """
    run(_list(where(center, config, address, ca, certificate, key), engine, output))


COMMANDS = (load, unload, list_)

group = typer.Typer(
    no_args_is_help=True, help="Personal resources of an engine, on every loader that serves it."
)
for command in COMMANDS:
    group.command(command.__name__.rstrip("_"))(command)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"--attribute {text}: write NAME=VALUE")
    return name, value


async def _load(
    place: Where, engine: str, number: int, key: str, data: bytes, attributes: dict[str, str], limit_s: float,
    output: Output,
) -> int:  # fmt: skip
    from loader.operate.nodes import NodeError
    from loader.v1 import admin_pb2

    async with place.nodes() as nodes:
        serving = await _serving(nodes, engine)
        request = admin_pb2.LoadResourceRequest(
            engine=engine, id=number, key=key, data=data, attributes=attributes
        )
        done: list[Node] = []
        for node in serving:
            try:
                answer = await nodes.call(node, "LoadResource", request, limit_s)
            except NodeError as error:
                await _take_back(nodes, done, engine, request.id)
                typer.echo(error.message, err=True)
                return Exit.FAILED
            request.id = answer.id  # the same on the others
            done.append(node)
    names = [node.name for node in done]
    if output is Output.TABLE:
        typer.echo(f"resource {request.id} of {engine} is loaded on {', '.join(names)}")
    else:
        show({"engine": engine, "id": request.id, "nodes": names}, output)
    return Exit.OK


async def _serving(nodes: Nodes, engine: str) -> list[Node]:
    """The loaders that have the engine. Raises: NodeError where one does not answer; InvalidArgumentError."""
    from loader.errors import InvalidArgumentError
    from loader.v1 import admin_pb2

    answers = await nodes.each("ListEngines", admin_pb2.ListEnginesRequest())
    found = [
        node for node, answer in answers if any(one.description.name == engine for one in answer.engines)
    ]
    if not found:
        asked = ", ".join(node.name for node, _ in answers)
        raise InvalidArgumentError(f"engine {engine} is served on none of {asked}: see `loader ctl engines`")
    return found


async def _take_back(nodes: Nodes, done: list[Node], engine: str, number: int) -> None:
    from loader.operate.nodes import NodeError
    from loader.v1 import admin_pb2

    for node in done:
        try:
            await nodes.call(
                node, "UnloadResource", admin_pb2.UnloadResourceRequest(engine=engine, id=number)
            )
        except NodeError as error:
            typer.echo(f"not taken back: {error.message}", err=True)


async def _unload(place: Where, engine: str, number: int, limit_s: float, output: Output) -> int:
    from loader.operate.nodes import NodeError
    from loader.v1 import admin_pb2

    errors: list[NodeError] = []
    rows: list[dict[str, Any]] = []
    async with place.nodes() as nodes:
        answers, silent = await nodes.answering(
            "ListResources", admin_pb2.ListResourcesRequest(engine=engine)
        )
        having = [node for node, answer in answers if any(one.id == number for one in answer.resources)]
        for node in having:
            request = admin_pb2.UnloadResourceRequest(engine=engine, id=number)
            try:
                answer = await nodes.call(node, "UnloadResource", request, limit_s)
                rows.append({"node": node.name, "is_pending": answer.is_pending})
            except NodeError as error:
                errors.append(error)
    if not having:
        asked = ", ".join(node.name for node, _ in answers)
        typer.echo(
            f"{engine} has no resource {number} on {asked}: `loader ctl resource list` lists them", err=True
        )
    _tell_unloaded(engine, number, rows, output)
    failed = told([*errors, *silent])
    if failed or not having:
        return Exit.FAILED
    return Exit.TIMEOUT if any(one["is_pending"] for one in rows) else Exit.OK


def _tell_unloaded(engine: str, number: int, rows: list[dict[str, Any]], output: Output) -> None:
    if output is not Output.TABLE:
        show({"engine": engine, "id": number, "nodes": rows}, output)
        return
    for row in rows:
        what = "goes when its sessions have ended" if row["is_pending"] else "is unloaded"
        typer.echo(f"resource {number} of {engine} {what} on {row['node']}")


async def _list(place: Where, engine: str, output: Output) -> int:
    from loader.v1 import admin_pb2

    async with place.nodes() as nodes:
        answers, errors = await nodes.answering(
            "ListResources", admin_pb2.ListResourcesRequest(engine=engine)
        )
    rows = [
        {
            "node": node.name,
            "engine": one.engine,
            "id": one.id,
            "key": one.key,
            "size_bytes": one.size_bytes,
            "state": one.state,
            "instances": {f"{held.version}/{held.index}": held.state for held in one.instances},
            "attributes": dict(one.attributes),
        }
        for node, answer in answers
        for one in answer.resources
    ]
    show_rows(rows, COLUMNS, output)
    return told(errors)

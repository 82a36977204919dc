"""`loader describe`: the engines of a running loader, as tables or as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.connection import (
    DEFAULT_ADDRESS,
    Address,
    Authority,
    ClientCertificate,
    ClientKey,
    credentials,
)

if TYPE_CHECKING:
    from rich.console import Console

TIMEOUT_S = 10


def describe(
    engine: Annotated[str, typer.Argument(help="Name of an engine; all of them without it.")] = "",
    address: Address = DEFAULT_ADDRESS,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the engines of a running loader with their inputs, outputs and parameters.

    Exit codes: 0 shown; 1 the loader refused or cannot be reached.
    """
    import grpc

    from loader.v1 import loader_pb2, loader_pb2_grpc

    tls = credentials(ca, certificate, key)
    with grpc.secure_channel(address, tls) if tls else grpc.insecure_channel(address) as channel:
        stub = loader_pb2_grpc.LoaderServiceStub(channel)
        try:
            response = stub.Describe(loader_pb2.DescribeRequest(engine=engine), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            typer.echo(f"{address}: {error.code().name}: {error.details()}", err=True)
            raise typer.Exit(1) from None
    rows = [_row(description) for description in response.engines]
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    for row in rows:
        _print(console, row)


def _row(description: Any) -> dict[str, Any]:
    declared = json.loads(description.declaration_json) if description.declaration_json else {}
    return {
        "name": description.name,
        "version": description.version,
        "state": description.state,
        "slots": description.slots,
        "exec": description.has_exec,
        "sessions": description.has_sessions,
        **declared,
    }


def _print(console: Console, row: dict[str, Any]) -> None:
    from rich.table import Table

    offers = [word for word, has in (("exec", row["exec"]), ("sessions", row["sessions"])) if has]
    console.print(
        f"[bold]{row['name']}[/bold] {row['version']}  {row['state']}  {row['slots']} slots  {', '.join(offers)}"
    )
    table = Table(box=None, padding=(0, 2), show_header=False)
    for part in ("inputs", "outputs", "parameters"):
        for entry in row.get(part, []):
            rest = {k: v for k, v in entry.items() if k not in ("key", "name", "type", "description")}
            name = str(entry.get("key", entry.get("name", "")))
            said = ", ".join(f"{key} {value}" for key, value in rest.items())
            table.add_row(
                part[:-1], name, str(entry.get("type", "")), said, str(entry.get("description", ""))
            )
    if table.row_count:
        console.print(table)

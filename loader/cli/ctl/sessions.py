"""`loader ctl sessions`: the open sessions of every loader."""

from __future__ import annotations

from typing import Annotated

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import Addresses, CenterUrl, ConfigFile, Where, run, told, where
from loader.cli.output import Column, Output, OutputForm, show_rows

COLUMNS = (
    "node", "session", "engine", "version", "state", "peer", Column("frames_in", is_right=True),
    Column("frames_out", is_right=True),
)  # fmt: skip


def sessions(
    engine: Annotated[str, typer.Argument(help="Of one engine; of all without it.")] = "",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """List open sessions, oldest first on each loader.

    Exit codes: as `engines`.
    """
    run(_sessions(where(center, config, address, ca, certificate, key), engine, output))


async def _sessions(place: Where, engine: str, output: Output) -> int:
    from loader.v1 import admin_pb2

    async with place.nodes() as nodes:
        answers, errors = await nodes.answering("ListSessions", admin_pb2.ListSessionsRequest(engine=engine))
    rows = [
        {
            "node": node.name,
            "session": one.session_id,
            "engine": one.engine,
            "version": one.version,
            "state": one.state,
            "peer": one.peer,
            **{field.name: getattr(one.statistics, field.name) for field in one.statistics.DESCRIPTOR.fields},
        }
        for node, answer in answers
        for one in answer.sessions
    ]
    show_rows(rows, COLUMNS, output)
    return told(errors)

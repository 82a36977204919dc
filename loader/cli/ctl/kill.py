"""`loader ctl kill SESSION`: ends one session, and tells its client why."""

from __future__ import annotations

from typing import Annotated

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import Addresses, CenterUrl, ConfigFile, Exit, Where, run, told, where
from loader.cli.output import Output, OutputForm, show


def kill(
    session: Annotated[str, typer.Argument(help="Its id, as `loader ctl sessions` lists it.")],
    message: Annotated[str, typer.Option("--message", "-m", help="Reaches the client in its error.")] = "",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """End a session on whichever loader has it, with reason `kicked`.

    Exit codes: 0 it is ended; 1 no loader that answers has it; 2 the command line is wrong.
    """
    run(_kill(where(center, config, address, ca, certificate, key), session, message, output))


async def _kill(place: Where, session: str, message: str, output: Output) -> int:
    from loader.v1 import admin_pb2

    async with place.nodes() as nodes:
        answers, errors = await nodes.answering("ListSessions", admin_pb2.ListSessionsRequest())
        found = [
            node for node, answer in answers if any(one.session_id == session for one in answer.sessions)
        ]
        if not found:
            asked = ", ".join(node.name for node, _ in answers)
            typer.echo(
                f"session {session} is open on none of {asked}: `loader ctl sessions` lists them", err=True
            )
            told(errors)
            return Exit.FAILED
        request = admin_pb2.KillSessionRequest(session_id=session, message=message)
        await nodes.call(found[0], "KillSession", request)
    if output is Output.TABLE:
        typer.echo(f"ended {session} on {found[0].name}")
    else:
        show({"session": session, "node": found[0].name}, output)
    return Exit.OK

"""`loader ctl weight ENGINE VERSION N`: how many of the new sessions a version gets."""

from __future__ import annotations

from typing import Annotated

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.ctl.changing import How, change
from loader.cli.operating import (
    Addresses,
    CenterUrl,
    ConfigFile,
    Message,
    Timeout,
    Wait,
    Where,
    Yes,
    run,
    seconds,
    where,
)
from loader.cli.output import Output, OutputForm


def weight(
    engine: Annotated[str, typer.Argument(help="Name of the engine.")],
    version: Annotated[str, typer.Argument(help="One of its versions.")],
    weight: Annotated[int, typer.Argument(metavar="N", min=0, max=10_000, help="0: only when asked for.")],
    message: Message = "",
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = "5m",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Set the weight of a version in the center; nothing else of the document changes, comments stay.

    Exit codes: as `apply`.
    """
    how = How(message or f"weight {engine} {version} {weight}", yes, seconds(timeout, "--timeout") if wait else None,
              output)  # fmt: skip
    run(_weight(where(center, config, address, ca, certificate, key), engine, version, weight, how))


async def _weight(place: Where, engine: str, version: str, weight: int, how: How) -> int:
    from loader.operate.weights import with_weights

    async with place.site() as site:
        held = await site.load_some()
        changes = with_weights(site, site.read(held), engine, {version: weight})
        return await change(place, site, held, changes, how)

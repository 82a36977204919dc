"""`loader ctl rollback`: a revision of the history becomes the configuration again."""

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


def rollback(
    revision: Annotated[
        str, typer.Argument(metavar="REV", help="Of the history; the one before without it.")
    ] = "",
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
    """Put a revision of the history again, as `put` does; with --wait follow it as `apply` does.

    Without REV: the revision that was the newest before; a second roll-back undoes the first. Exit codes: as
    `apply`.
    """
    how = How(message, yes, seconds(timeout, "--timeout") if wait else None, output)
    run(_rollback(where(center, config, address, ca, certificate, key), revision, how))


async def _rollback(place: Where, revision: str, how: How) -> int:
    from dataclasses import replace

    from loader.operate.site import changes_between

    async with place.site() as site:
        held = await site.load()
        wanted = await (site.revision_named(revision) if revision else site.previous())
        how = replace(how, message=how.message or f"rollback to {wanted.name}")
        return await change(place, site, held, changes_between(held, wanted), how)

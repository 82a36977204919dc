"""`loader`: the options of serving, and the commands. Imports of a command happen inside it: start is fast."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from loader.cli.aiges import aiges
from loader.cli.call import call
from loader.cli.check import check
from loader.cli.config import group as config_group
from loader.cli.ctl import group as ctl_group
from loader.cli.describe import describe
from loader.cli.gateway import gateway
from loader.cli.import_aiges import import_aiges
from loader.cli.include import include
from loader.cli.init import init
from loader.cli.plan import plan
from loader.cli.resolve import resolve
from loader.cli.rollout import rollout
from loader.cli.status import status
from loader.cli.version import version

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(call)
app.command()(check)
app.command()(describe)
app.command()(gateway)
app.command("import-aiges")(import_aiges)
app.command(context_settings={"ignore_unknown_options": True})(aiges)
app.command()(include)
app.command()(init)
app.add_typer(config_group, name="config")
app.command()(plan)
app.command()(resolve)
app.command()(status)
app.command()(rollout)
app.add_typer(ctl_group, name="ctl")
app.command()(version)

EXIT_CODES = """Exit codes: 0 ended as asked; 1 a defect; 2 the command line is wrong; 3 the configuration is not
valid; 4 an address cannot be bound; 5 a second signal cut open sessions."""


@app.callback(invoke_without_command=True, epilog=EXIT_CODES)
def main(
    context: typer.Context,
    config: Annotated[
        str,
        typer.Option(
            metavar="FILE|URL",
            help="Serve the engines of this file, directory or center; watched for changes.",
        ),
    ] = "",
    grpc: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="gRPC address; port 0 picks a free one.")
    ] = "",
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="HTTP address; port 0 picks a free one.")
    ] = "",
) -> None:
    """Turns AI engines into a production service of streaming gRPC sessions.

    `loader --config FILE` serves. When ready it prints one JSON line with the addresses on standard output.
    """
    if context.invoked_subcommand is not None:
        return
    if not config:
        raise typer.BadParameter("give --config FILE to serve, or a command: see --help")
    check_addresses(grpc, http)
    from loader.app import Settings, serve

    raise typer.Exit(serve(Settings(config, grpc, http)))


def check_addresses(grpc: str, http: str, names: tuple[str, str] = ("--grpc", "--http")) -> None:
    """Raises: BadParameter for an address that cannot be one."""
    from loader.config import checks

    for option, given, checked in zip(
        names, (grpc, http), (checks.address, checks.http_address), strict=True
    ):
        try:
            if given:
                checked(given)
        except ValueError as error:
            raise typer.BadParameter(f"{option} {given}: {error}") from None


def run() -> None:
    """The entry point of the command `loader`. What no command has an answer of its own for is told in one line."""
    for word in sys.argv[1:]:
        try:
            word.encode()
        except UnicodeEncodeError:  # a shell passes any bytes
            typer.echo(f"{word!a}: is not UTF-8 text: correct it, or rename the file", err=True)
            sys.exit(2)
    try:
        app()
    except OSError as error:
        typer.echo(
            f"{error.filename or 'loader'}: {error.strerror or error}: check the path and its mode", err=True
        )
        sys.exit(1)

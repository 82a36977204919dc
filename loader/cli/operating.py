"""What the operator's commands share: options, exit codes, and errors as one line instead of a traceback."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.connection import DEFAULT_ADDRESS, credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence

    from loader.errors import LoaderError
    from loader.operate.nodes import Nodes
    from loader.operate.site import Site


class Exit(IntEnum):
    """Exit codes of the operator's commands; 4 and 5 belong to serving."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIG = 3
    CHANGES = 6
    NEW_LOADER = 7
    NOT_APPLIED = 8
    TIMEOUT = 9
    CONFLICT = 10
    INTERRUPTED = 130


CenterUrl = Annotated[
    str,
    typer.Option(
        "--center",
        metavar="URL",
        help="Config center: consul://HOST:PORT/PREFIX, file:PATH or finder:http://….",
    ),
]
ConfigFile = Annotated[
    str,
    typer.Option(
        "--config", metavar="FILE", help="The file that loaders are started with; it names the center."
    ),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option(
        "--address", metavar="HOST:PORT", help="gRPC address of a loader; repeatable. Else the registry's."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Message = Annotated[str, typer.Option("--message", "-m", help="Why; kept in the history.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow until all loaders have settled.")]
Timeout = Annotated[str, typer.Option("--timeout", help="The longest wait: 90s, 5m.")]


@dataclass(frozen=True, slots=True)
class Where:
    """The service, as the command line names it."""

    center: str = ""
    config: str = ""
    addresses: tuple[str, ...] = ()
    tls: Any = None

    @property
    def location(self) -> str:
        """Raises: BadParameter unless exactly one of both is given."""
        if bool(self.center) == bool(self.config):
            raise typer.BadParameter("give --center URL or --config FILE, one of both")
        return self.center or self.config

    @asynccontextmanager
    async def site(self) -> AsyncIterator[Site]:
        """The center, closed at the end."""
        async with opened_site(self.location) as found:
            yield found

    @asynccontextmanager
    async def nodes(self, site: Site | None = None) -> AsyncIterator[Nodes]:
        """The loaders at the addresses, those of the registry, or the one on this machine."""
        from loader.operate.nodes import open_nodes

        if self.addresses or not (site or self.center or self.config):
            from loader.consul_link import ConsulAccess

            async with open_nodes(
                self.addresses or (DEFAULT_ADDRESS,), "", ConsulAccess(), self.tls
            ) as found:
                yield found
        elif site is not None:
            url = await site.registry_url()
            async with open_nodes((), url, site.bootstrap.access, self.tls) as found:
                yield found
        else:
            async with self.site() as own, self.nodes(own) as found:
                yield found


def where(
    center: str,
    config: str,
    addresses: list[str] | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Where:
    """The options as one value. Raises: BadParameter."""
    from loader.config import checks

    for one in addresses or []:
        try:
            checks.address(one)
        except ValueError as error:
            raise typer.BadParameter(f"--address {one}: {error}") from None
    return Where(center, config, tuple(addresses or ()), credentials(ca, certificate, key))


@asynccontextmanager
async def opened_site(location: str) -> AsyncIterator[Site]:
    """The site at a FILE or URL, closed at the end. Raises: BadConfigError."""
    from loader.operate.site import open_site

    site = open_site(location)
    try:
        yield site
    finally:
        await site.close()


def run(work: Coroutine[Any, Any, int | None]) -> None:
    """Runs a command and ends with its exit code; an error is told in one line."""
    import asyncio

    from loader.errors import LoaderError

    try:
        code = asyncio.run(work)
    except LoaderError as error:
        typer.echo(error.message, err=True)
        raise typer.Exit(code_of(error)) from None
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    raise typer.Exit(code or Exit.OK)


def code_of(error: LoaderError) -> Exit:
    """The exit code of an error."""
    from loader.errors import BadConfigError, ConflictError, InvalidArgumentError

    for kind, code in (
        (BadConfigError, Exit.CONFIG),
        (ConflictError, Exit.CONFLICT),
        (InvalidArgumentError, Exit.USAGE),
    ):
        if isinstance(error, kind):
            return code
    return Exit.FAILED


def told(errors: Sequence[LoaderError]) -> Exit:
    """Says who of several has not answered; the exit code of an answer without them."""
    for error in errors:
        typer.echo(error.message, err=True)
    return Exit.FAILED if errors else Exit.OK


def author() -> str:
    """Who changes something, for the history."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def seconds(text: str, option: str) -> float:
    """A time of the command line. Raises: BadParameter."""
    from loader.errors import LoaderError
    from loader.operate.canary import parse_seconds

    try:
        return parse_seconds(text, option)
    except LoaderError as error:
        raise typer.BadParameter(error.message) from None

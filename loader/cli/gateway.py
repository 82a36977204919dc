"""`loader gateway`: the HTTP and WebSocket faces as a process of their own, in front of many loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loader.cli.connection import (
    DEFAULT_ADDRESS,
    Authority,
    ClientCertificate,
    ClientKey,
    credentials,
    pem_file,
)


def gateway(
    address: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT|URL",
            help="A loader's gRPC address, or a registry: consul://HOST:PORT/SERVICE, file:DIRECTORY.",
        ),
    ] = DEFAULT_ADDRESS,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="HTTP address; port 0 picks a free one.")
    ] = "127.0.0.1:8080",
    listen_certificate: Annotated[
        Path | None, pem_file("PEM file of its own certificate: serves HTTPS.")
    ] = None,
    listen_key: Annotated[Path | None, pem_file("PEM file of that certificate's private key.")] = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    zone: Annotated[str, typer.Option(help="Loaders of this zone come first.")] = "",
    token: Annotated[
        str, typer.Option(envvar="CONSUL_HTTP_TOKEN", show_envvar=True, help="Consul's token.")
    ] = "",
    header_pass: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Header of AIGES requests that becomes a parameter; repeatable."),
    ] = None,
    message_bytes: Annotated[int, typer.Option(min=1024, help="The largest body or frame.")] = 4 << 20,
    read_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a frame after which a WebSocket is closed.")
    ] = 15.0,
    session_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a WebSocket is closed.")
    ] = 180.0,
    drain_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds for open calls and sessions at the end.")
    ] = 30.0,
) -> None:
    """Serve the HTTP and WebSocket faces of many loaders: POST /v1/private/ENGINE, /openapi.json, /swagger/.

    Finds loaders through a registry and balances as any client does; a session stays on its node. Answers /healthz and
    /readyz. When it listens it prints one JSON line with the address on standard output.
    Exit codes: 0 ended as asked; 2 the command line is wrong; 4 the address cannot be bound; 5 a second signal cut
    what was open.
    """
    from loader.cli.main import check_addresses
    from loader.client.watching import is_registry
    from loader.consul_link import ConsulAccess
    from loader.errors import BadConfigError
    from loader.gateway.process import Options, serve
    from loader.gateway.settings import Settings
    from loader.web.tls import ServerTls

    check_addresses("" if is_registry(address) else address, listen, names=("--address", "--listen"))
    if (listen_certificate is None) != (listen_key is None):
        raise typer.BadParameter("--listen-certificate and --listen-key go together: give both, or neither")
    try:
        options = Options(
            listen,
            address,
            zone,
            ConsulAccess(token),
            credentials(ca, certificate, key),
            ServerTls(listen_certificate, listen_key) if listen_certificate and listen_key else None,
            drain_timeout,
            Settings(
                header_pass=frozenset(header_pass or ()),
                message_bytes=message_bytes,
                ws_read_timeout_s=read_timeout,
                ws_session_timeout_s=session_timeout,
            ),
        )
        code = serve(options)
    except BadConfigError as error:
        raise typer.BadParameter(error.message) from None
    except OSError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(4) from None
    raise typer.Exit(code)

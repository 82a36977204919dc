"""The options of every command that speaks to a running loader: its address and its TLS files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DEFAULT_ADDRESS = "127.0.0.1:8001"


def pem_file(text: str) -> Any:
    return typer.Option(metavar="FILE", exists=True, dir_okay=False, readable=True, help=text)


def _given(address: str) -> str:
    if not address:  # of a variable that is not set
        raise typer.BadParameter("is empty: write HOST:PORT")
    return address


Address = Annotated[str, typer.Option(metavar="HOST:PORT", help="gRPC address.", callback=_given)]
Authority = Annotated[Path | None, pem_file("PEM file of the authority, for TLS.")]
ClientCertificate = Annotated[Path | None, pem_file("PEM file of one's own certificate, for mutual TLS.")]
ClientKey = Annotated[Path | None, pem_file("PEM file of its private key.")]


def credentials(ca: Path | None, certificate: Path | None, key: Path | None) -> Any:
    """TLS credentials of these files; None, no encryption, without any."""
    if (certificate is None) != (key is None):
        raise typer.BadParameter("--certificate and --key go together: give both, or neither")
    if ca is None and certificate is None:
        return None
    import grpc

    def content(file: Path | None) -> bytes | None:
        return file.read_bytes() if file else None

    return grpc.ssl_channel_credentials(content(ca), content(key), content(certificate))

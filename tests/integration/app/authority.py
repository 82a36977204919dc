"""Certificate authorities for tests, made with the `openssl` command. Nothing is kept, nothing is trusted elsewhere."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc

CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
SERVER = "DNS:localhost,IP:127.0.0.1"


def openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; `certificate` is what others trust."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = name
        self.certificate = folder / f"{name}.pem"
        openssl(
            "req", "-x509", *CURVE, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
            folder=folder,
        )  # fmt: skip

    def issue(self, name: str, names: str = SERVER) -> Identity:
        """A certificate for `names` (subjectAltName; empty: none)."""
        folder, stem = self._folder, f"{self._name}-{name}"
        openssl(
            "req",
            *CURVE,
            "-keyout",
            f"{stem}.key",
            "-out",
            f"{stem}.csr",
            "-subj",
            f"/CN={name}",
            folder=folder,
        )
        (folder / f"{stem}.ext").write_text(
            f"subjectAltName={names}\n" if names else "basicConstraints=CA:FALSE\n"
        )
        openssl(
            "x509", "-req", "-in", f"{stem}.csr", "-CA", self.certificate.name, "-CAkey", f"{self._name}.key",
            "-CAcreateserial", "-out", f"{stem}.pem", "-extfile", f"{stem}.ext", "-days", "2",
            folder=folder,
        )  # fmt: skip
        return Identity(folder / f"{stem}.pem", folder / f"{stem}.key")

    def credentials(self, own: Identity | None = None) -> grpc.ChannelCredentials:
        """What a client needs that trusts this authority, and shows its own certificate."""
        if own is None:
            return grpc.ssl_channel_credentials(self.certificate.read_bytes())
        return grpc.ssl_channel_credentials(
            self.certificate.read_bytes(), own.key.read_bytes(), own.certificate.read_bytes()
        )

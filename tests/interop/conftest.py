"""Fixtures of the interop tests: the server program, its certificates, its messages.

The server is `interop-server` of the C++ build in `LOADER_BUILD_DIR` (default `build/`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# pytest imports by file (importlib mode); the tests share one module of their own.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from interop_harness import Messages, Program, Server

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> Path:
    """The built program `name`, or a failure that says how to build it."""
    build = Path(os.environ.get("LOADER_BUILD_DIR", ROOT / "build"))
    path = build / "tests" / "interop" / name
    if not path.exists():
        pytest.fail(f"{path} is missing: build the target {name} or set LOADER_BUILD_DIR")
    return path


@pytest.fixture(scope="session")
def server_binary() -> Path:
    return program("interop-server")


@pytest.fixture(scope="session")
def cpp_client() -> Path:
    return program("interop-client-cpp")


@pytest.fixture(scope="session")
def messages(tmp_path_factory: pytest.TempPathFactory) -> Messages:
    return Messages.compile(tmp_path_factory.mktemp("proto"))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem/.key and client.pem/.key, made for this run."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca")
    for name, san in (
        ("server", "DNS:localhost,IP:127.0.0.1"),
        ("client", "URI:spiffe://test/client,DNS:client.test"),
    ):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / f"{name}.ext").write_text(f"subjectAltName={san}\n")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-extfile", f"{name}.ext", "-days", "2",
        )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def shared_server(
    server_binary: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One server for all well-behaved clients: TCP, Unix socket, TLS."""
    unix = tmp_path_factory.mktemp("s") / "s.sock"
    with Server.start(
        Program(server_binary),
        ["--listen", "127.0.0.1:0", "--listen", f"unix:{unix}"],
        ["--tls", str(certificates / "server.pem"), str(certificates / "server.key")],
        ["--listen", "127.0.0.1:0"],
    ) as server:
        server.unix_path = str(unix)
        yield server


@pytest.fixture
def start_server(server_binary: Path) -> Iterator[object]:
    """A function that starts a server of its own for the test: `start_server("--set", "x=1")`."""
    started: list[Server] = []

    def start(*args: str) -> Server:
        listen = [] if "--listen" in args else ["--listen", "127.0.0.1:0"]
        server = Server.start(Program(server_binary), list(args), listen)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()

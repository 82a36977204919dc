"""The same cases by clients in C++ (grpc++) and JavaScript (@grpc/grpc-js)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from interop_harness import Server

HERE = Path(__file__).resolve().parent
CASES = (
    "empty_unary",
    "large_unary",
    "client_compressed_unary",
    "server_compressed_unary",
    "client_compressed_streaming",
    "server_compressed_streaming",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "custom_metadata",
    "status_code_and_message",
    "special_status_message",
    "unimplemented_method",
    "unimplemented_service",
    "cancel_after_begin",
    "cancel_after_first_response",
    "timeout_on_sleeping_server",
    "concurrent_large_unary",
)


def run(*command: str) -> None:
    """Runs a client that prints why it fails and ends with 1 if it does."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def targets(server: Server, certificates: Path) -> dict[str, tuple[str, ...]]:
    return {
        "tcp": (f"127.0.0.1:{server.ports[0]}",),
        "unix": (f"unix:{server.unix_path}",),
        "tls": (f"localhost:{server.ports[2]}", str(certificates / "ca.pem")),
    }


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("case", CASES)
def test_grpc_cpp_agrees(
    shared_server: Server, certificates: Path, cpp_client: Path, case: str, transport: str
) -> None:
    """grpc++ sees what grpcio sees."""
    run(str(cpp_client), case, *targets(shared_server, certificates)[transport])


@pytest.fixture(scope="session")
def js_client(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """node and the client script, its packages installed outside the source tree."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing = "node and npm are not installed: grpc-js is not tested; run `apt-get install npm`"
        pytest.fail(missing) if os.environ.get("LOADER_CI") else pytest.skip(missing)
    folder = tmp_path_factory.mktemp("js")
    for name in ("package.json", "package-lock.json", "interop_client.js"):
        shutil.copy(HERE / "js" / name, folder)
    shutil.copytree(HERE / "proto", folder / "proto")
    subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund"],
        cwd=folder, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    return node, str(folder / "interop_client.js")


@pytest.mark.parametrize("transport", ["tcp", "unix", "tls"])
@pytest.mark.parametrize("case", CASES)
def test_grpc_js_agrees(
    shared_server: Server,
    certificates: Path,
    js_client: tuple[str, str],
    case: str,
    transport: str,
) -> None:
    """grpc-js sees what grpcio sees."""
    run(*js_client, case, *targets(shared_server, certificates)[transport])

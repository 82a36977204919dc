"""`loader --config`: what is wrong on the command line or in the file ends it with its documented exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ECHO = Path(__file__).resolve().parents[3] / "wrappers/echo_py"
PROGRAM = str(Path(sys.executable).with_name("loader"))
USAGE, CONFIG = 2, 3


def serve(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done


def write(folder: Path, **keys: object) -> Path:
    config = folder / "service.yaml"
    config.write_text(json.dumps({"engines": {"echo": {"wrapper": str(ECHO)}}} | keys))
    return config


@pytest.mark.parametrize(
    ("option", "address", "message"),
    [
        ("--grpc", "foo", "write HOST:PORT"),
        ("--grpc", ":99999", "write HOST:PORT"),
        ("--grpc", "127.0.0.1:99999", "the port must be a number from 0"),
        ("--grpc", "unix:", "1 to 107 bytes"),
        ("--http", "foo", "write HOST:PORT"),
        ("--http", "unix:/tmp/x", "cannot be a Unix socket"),
    ],
)
def test_an_address_that_cannot_be_one_is_a_wrong_command_line(
    tmp_path: Path, option: str, address: str, message: str
) -> None:
    """Exit code 2, with the option, what was given and the form that is wanted."""
    done = serve(write(tmp_path), option, address)
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.returncode == USAGE
    assert message in said
    assert option in said
    assert address in said


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"http": "unix:/tmp/x"}, "http: the HTTP port cannot be a Unix socket"),
        ({"grpc": "127.0.0.1:99999"}, "grpc: the port must be a number"),
        ({"admin_listen": "foo"}, "admin_listen: write HOST:PORT"),
        (
            {"engines": {"e": {"wrapper": str(ECHO), "environment": {"A=B": "x"}}}},
            "environment.A=B: the name",
        ),
        ({"engines": {"e": {"wrapper": str(ECHO), "environment": {"A": "x\0y"}}}}, "a NUL character"),
        ({"engines": {"e": {"wrapper": str(ECHO), "python": "/dev/null/x"}}}, "engines.e.python: "),
        ({"engines": {"e": {"wrapper": str(ECHO), "queue_limit": 5_000_000_000}}}, "engines.e.queue_limit: "),
        ({"arena_bytes": 1 << 60}, "arena_bytes: "),
    ],
)
def test_a_wrong_configuration_ends_with_its_code(
    tmp_path: Path, keys: dict[str, object], message: str
) -> None:
    """Exit code 3, file, line and key."""
    done = serve(write(tmp_path, **keys))
    assert done.returncode == CONFIG
    assert message in done.stderr

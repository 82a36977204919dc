"""Commands that speak AIGES's plug-in protocol, and one running loader with several of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "app"))
sys.path.insert(0, str(Path(__file__).parents[1] / "aiges"))

from consul_agent import free_ports
from plugin_command import command_of, generate
from running import Running


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated messages of the protocol."""
    return generate(tmp_path_factory.mktemp("plugin-protocol"))


@pytest.fixture(scope="module")
def service(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`first` and `second` listen on one port; `unix` on a socket, by a shell; `thief` claims their port; `brief` has
    short limits."""
    folder = tmp_path_factory.mktemp("plugin")
    (port,) = free_ports(1)
    handshake = f"echo '1|1|tcp|127.0.0.1:{port}|grpc'; sleep 60"
    often = {"backoff_s": 0.05, "intensity": 1000}
    at_socket = shlex.join(command_of(code, f"unix:{folder}/socket"))
    shared = {"command": command_of(code, f"tcp:{port}"), "slots": 16, "restart": often}
    engines = {
        "first": shared | {"config": {"who": "first", "rate": 16000, "on": True}},
        "second": shared | {"config": {"who": "second", "schema": "none"}},
        "unix": {
            "command": f"export STDIO=1; sleep 600 & {at_socket} & wait",
            "slots": 4,
            "restart": often,
            "config": {"schema": "odd"},
        },
        "brief": {
            "command": command_of(code, "tcp"),
            "slots": 4,
            "call_timeout_ms": 2000,
            "hang_grace_ms": 100,
            "host_timeout_ms": 5000,
            "drain_timeout_s": 1,
            "restart": often,
        },
        "thief": {"command": f"sleep 1; {handshake}", "init_timeout_s": 10, "restart": {"intensity": 0}},
    }
    with Running(folder, json.dumps({"engines": engines})) as running:
        yield running

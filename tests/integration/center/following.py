"""A loader that follows a Consul center, and what an operator reads of it there."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consul_agent import ConsulAgent
from running import Running, command, until

from loader.center import Document, Revision
from loader.v1 import admin_pb2

ROOT = "service.yaml"
NODE = "n1"
CONVERGE_S = 40
ECHO = """
from loader import Session, Wrapper

class Echo(Wrapper):
    def exec(self, request):
        return {"text": request["text"]}

    def create(self, params):
        return EchoSession()

class EchoSession(Session):
    def write(self, frame):
        return {"text": frame["text"]}
"""


@dataclass
class Scene:
    """One service in one Consul, and the folder of one node."""

    agent: ConsulAgent
    prefix: str
    folder: Path
    begin: Callable[..., Running]
    token: str = ""

    @property
    def bootstrap(self) -> str:
        lines = [f"center: {self.agent.url(self.prefix)}", f"node: {NODE}", f"cache: {self.folder / 'cache'}"]
        return "\n".join([*lines, *([f"center_token: {self.token}"] if self.token else [])]) + "\n"

    @property
    def cache_file(self) -> Path:
        (found,) = (self.folder / "cache").glob("*.json")
        return found

    def start(self, more: str = "", *arguments: str) -> Running:
        (self.folder / "echo.py").write_text(ECHO)
        return self.begin(self.bootstrap + more, *arguments)

    def start_fails(self) -> tuple[int, str]:
        """The exit code and what it says, where it does not start."""
        file = self.folder / "bootstrap.yaml"
        file.write_text(self.bootstrap)
        ended = subprocess.run(
            command("--config", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    def publish(self, text: str, name: str = ROOT) -> str:
        """Puts one document as `consul kv put` would; the revision of a configuration that is this root alone."""
        self.agent.put(f"{self.prefix}/config/{name}", text)
        return Revision((Document(ROOT, text),)).name

    def acknowledgement(self) -> dict[str, Any]:
        text = self.agent.get(f"{self.prefix}/acknowledgements/{NODE}")
        return json.loads(text) if text else {}

    def acknowledged(self, **wanted: str) -> dict[str, Any]:
        """Waits until the node says so."""

        def found() -> dict[str, Any]:
            said = self.acknowledgement()
            return said if all(said.get(name) == value for name, value in wanted.items()) else {}

        return dict(until(found, f"{wanted}; said: {self.acknowledgement()}", CONVERGE_S))

    def entry(self) -> dict[str, Any]:
        """What the registry tells clients of the node; empty: nothing."""
        rows = self.agent.call("GET", f"/health/service/{self.prefix}?passing=1") or []
        if not rows:
            return {}
        meta = rows[0]["Service"]["Meta"]
        chunks = (meta[f"loader_{number}"] for number in range(len(meta)) if f"loader_{number}" in meta)
        return dict(json.loads("".join(chunks)))


def status(running: Running) -> Any:
    return running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=30)


def metric(running: Running, name: str) -> float:
    with urllib.request.urlopen(f"http://{running.ready['http']}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    found = re.search(rf"^loader_{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    assert found, f"no metric {name}"
    return float(found[1])


def service(drain_s: int = 10, more: str = "") -> str:
    return f"drain_timeout_s: {drain_s}\nengines:\n  echo:\n    wrapper: echo.py\n    slots: 4\n{more}"

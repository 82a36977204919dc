"""Every command and every snippet of the how-to pages is run, against a real Consul and a loader in it."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from consul_agent import ConsulAgent

from loader.client import Client, ClientSession

PAGES = Path(__file__).resolve().parents[3] / "docs/how-to"
URL = "consul://127.0.0.1:8500/speech"
ADDRESS = "10.0.0.3:8001"
NODE = "speech-3"
READY_S = 60
COMMAND_S = 60
CODES = {"plan": {0, 6}, "diff": {6}}  # of a command that says by its code what it has found
WRAPPER = """
from loader import Session, Wrapper

class Engine(Wrapper):
    def exec(self, request):
        return {"text": request["text"]}

    def create(self, params):
        return Echo()

class Echo(Session):
    def write(self, frame):
        return {"text": frame["text"]}
"""
SERVICE = """\
engines:
  asr:
    wrapper: engine.py
    slots: 8
    capabilities: {type: asr, language: en}
    versions:
      "1.0": {}
      "2.0": {weight: 0}
      "2.1": {weight: 0}
      "3.0": {labels: {group: beta}}
  tts: {wrapper: engine.py, capabilities: {type: tts}}
"""


@dataclass
class Place:
    """The service that the pages speak of."""

    folder: Path
    url: str
    address: str

    def real(self, text: str) -> str:
        """The page's words with the addresses of here."""
        return text.replace(URL, self.url).replace(ADDRESS, self.address)

    def run(self, command: str) -> str:
        """One command line, as a shell runs it; whoever is asked agrees."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", self.real(command)],
            input="y\n", capture_output=True, text=True, timeout=COMMAND_S, check=False,
            cwd=self.folder, env={**os.environ, "PATH": path},
        )  # fmt: skip
        codes = next((codes for word, codes in CODES.items() if word in command.split()), {0})
        assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


def commands(page: str) -> list[str]:
    """Each command of the page's `sh` blocks."""
    blocks = re.findall(r"^ *```sh\n(.*?)```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)
    joined = "".join(blocks).replace("\\\n", " ")
    found = [line.strip() for line in joined.splitlines() if line.strip()]
    assert found, page
    return found


@pytest.fixture(scope="module")
def place(shared_consul: ConsulAgent, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The service in a Consul, and its only node."""
    folder = tmp_path_factory.mktemp("how-to")
    (folder / "engine.py").write_text(WRAPPER)
    prefix = "how-to/speech"
    shared_consul.put(f"{prefix}/config/service.yaml", SERVICE.replace("engine.py", f"{folder}/engine.py"))
    (folder / "node.yaml").write_text(
        f"center: {shared_consul.url(prefix)}\nnode: {NODE}\nzone: eu-1\ngrpc: 127.0.0.1:0\nhttp: 127.0.0.1:0\n"
        f"cache: {folder}/cache\n"
    )
    command = [str(Path(sys.executable).with_name("loader")), "--config", str(folder / "node.yaml")]
    with (
        (folder / "loader.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S), (folder / "loader.log").read_text()
            found = Place(folder, shared_consul.url(prefix), json.loads(process.stdout.readline())["grpc"])
            yield found
        finally:
            process.terminate()
            process.wait(READY_S)


class Opening(Client):
    """Opens every session that is made, and ends it."""

    def session(self, *arguments: Any, **which: Any) -> ClientSession:
        with super().session(*arguments, timeout_s=30, **which) as session:
            self.versions.append(session.opened.engine_version)
        return session

    versions: list[str]


def test_find_and_balance(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The snippets in Python, and the command for stubs in other languages."""
    text = (PAGES / "find-and-balance.md").read_text()
    first, second = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(place.real(first), {"chunks": [{"text": "a"}, {"text": "b"}]})  # noqa: S102 - the page's own
    assert capsys.readouterr().out == "a\nb\n"
    with Opening(place.url) as client:
        client.versions = []
        exec(place.real(second), {"client": client})  # noqa: S102
        assert client.versions == ["2.1", "3.0", "1.0"]
    (console,) = re.findall(r"```console\n\$ (.*?)\n", text)
    assert place.run(console) == f"{place.address}\n"


def test_change_a_configuration(place: Place) -> None:
    """Shown, got, changed, planned, applied on all loaders."""
    for command in commands("change-a-configuration.md"):
        place.run(command)
        if "> service.yaml" in command:
            file = place.folder / "service.yaml"
            file.write_text(file.read_text().replace("slots: 8", "slots: 9"))
    assert "slots: 9" in place.run(f"loader ctl get --center {URL}")


def test_roll_out_a_version_and_roll_back(place: Place) -> None:
    """The canary of the page in seconds; then what was before comes back."""
    (canary,) = commands("roll-out-a-version.md")
    place.run(canary.replace("--interval 5m", "--interval 1s") + " --min-sessions 0")
    assert (
        place.run(f"loader ctl engines --center {URL} --output json").count('"weight": 100') == 2
    )  # and tts
    for command in commands("roll-back.md"):
        place.run(command)


def test_drain_a_node(place: Place) -> None:
    """By its name, and back."""
    drain, undrain = commands("drain-a-node.md")
    place.run(drain)
    place.run(undrain)
    with Client(place.address) as client:
        assert client.exec("tts", {"text": "a"}, timeout_s=30)[0]["text"] == "a"


def test_migrate_from_aiges(tmp_path: Path) -> None:
    """The import, in both languages; the two that serve are run in integration/aiges/test_command_line.py."""
    said = commands("migrate-from-aiges.md")
    other = commands("migrate-from-aiges.zh.md")
    assert [one.partition(" #")[0] for one in said] == [one.partition(" #")[0] for one in other]
    (tmp_path / "aiges.toml").write_text("[svcName]\n[wrapper]\n[fc]\nmax = 4\n")
    (tmp_path / "wrapper.py").write_text(WRAPPER)
    place = Place(tmp_path, URL, ADDRESS)
    place.run(next(one for one in said if "import-aiges" in one))
    assert "slots: 4" in place.run("loader config show service.yaml")
    place.run("loader check service.yaml")


def test_every_page_is_run() -> None:
    """A new page needs a test above."""
    run = set(re.findall(r'"([a-z.-]+\.md)"', Path(__file__).read_text()))
    assert {page.name for page in PAGES.glob("*.md")} == run

"""`loader aiges -m 0 -c aiges.toml -s NAME`: one loader started as AIGES is, with its file and its environment."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from running import READY_S, command, until
from xsf_client import Xsf, payload

from loader.client import Client

TOML = """
    [reader]
    host = "127.0.0.1"
    port = 0
    finder = 0
    mystery = 1

    [aiges]
    sub = "ase"
    headerPass = "appid"

    [wrapper]
    http_listen = "127.0.0.1:0"
    "common.lic" = "10"
    rate = 2.50
    fast = true

    [fc]
    able = 1
    router = "sessionManager"
    max = 4

    [log]
    level = "info"
"""
WRAPPER = """
    import json

    from aiges.dto import Response, ResponseData

    class Wrapper:
        def wrapperInit(self, config):
            self.config = dict(config)
            return 0

        def wrapperOnceExec(self, params, reqData):
            node = ResponseData()
            node.key = "result"
            node.setData(json.dumps({"config": self.config, "params": params}).encode())
            response = Response()
            response.list = [node]
            return response

        def wrapperError(self, code):
            return ""

        def wrapperFini(self):
            return 0
"""


@dataclass
class Started:
    """A loader that was started by AIGES's command line."""

    ready: dict[str, Any]
    folder: Path

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = (self.folder / "loader.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Ended with its hosts."""
    folder = tmp_path_factory.mktemp("aiges-start")
    (folder / "aiges.toml").write_text(dedent(TOML))
    (folder / "wrapper.py").write_text(dedent(WRAPPER))
    environment = {**os.environ, "AIGES_PLUGIN_MODE": "python", "AIGES_WRAPPER_VERSION": "3.2"}
    words = command("aiges", "-m", "0", "-c", "aiges.toml", "-s", "reader", "-p", "AIpaas", "-g", "hu")
    with (folder / "loader.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log)
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(READY_S), (folder / "loader.log").read_text()
        line = process.stdout.readline()
        assert line, (folder / "loader.log").read_text()
        yield Started(json.loads(line), folder)
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def said(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(str(client.exec("reader", {"img": b"x"})[0]["result"]))
    return found


def test_its_engine_answers_our_clients(started: Started) -> None:
    """wrapperInit got [wrapper] as texts."""
    with Client(started.ready["grpc"]) as client:
        config = said(client)["config"]
    assert config == {"http_listen": "127.0.0.1:0", "common.lic": "10", "rate": "2.5", "fast": "true"}


def test_its_engine_answers_clients_of_aiges(started: Started) -> None:
    """With the headers of headerPass among the parameters."""
    client = Xsf(started.ready["grpc"], timeout_ms=10_000)
    try:
        output = client.once("reader", [payload("img", b"x")], headers={"appid": "a1"})
    finally:
        client.close()
    params = json.loads(output.pl[0].data)["params"]
    assert params["appid"] == "a1"
    assert params["sid"]


def test_its_engine_answers_over_http(started: Started) -> None:
    """At `http_listen`, which AIGES's server would have opened."""
    url = f"http://{started.ready['http']}/v1/private/reader"
    body = json.dumps({"header": {"appid": "a1"}, "payload": {"img": {"image": "eA=="}}}).encode()
    with urllib.request.urlopen(url, body, timeout=20) as reply:
        answer = json.load(reply)
    assert json.loads(answer["payload"]["result"]["text"])["params"]["appid"] == "a1"


def test_what_is_not_taken_over_is_told_once(started: Started) -> None:
    """The unknown and the unsupported as warnings; the file is looked at all the time."""
    told = [
        line["key"] for line in started.log if line["event"] == "aiges.toml" and line["level"] == "warning"
    ]
    assert sorted(told) == ["[reader].finder", "[reader].mystery"]


def test_a_changed_file_is_applied(started: Started) -> None:
    """Which AIGES does not do: the wrapper gets its new configuration without a restart of the loader."""
    file = started.folder / "aiges.toml"
    new = file.with_suffix(".new")
    new.write_text(dedent(TOML).replace('"10"', '"11"'))
    new.replace(file)
    with Client(started.ready["grpc"]) as client:
        until(lambda: said(client)["config"]["common.lic"] == "11", "the new value is served")

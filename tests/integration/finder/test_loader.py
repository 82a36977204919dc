"""`loader aiges -m 1`: a loader that takes its aiges.toml from a finder, and is found there by clients of AIGES."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import IO, Any

import pytest
from finder_console import Console, console_of, unframed
from running import READY_S, command, until
from xsf_client import Xsf, payload
from zookeeper_server import ZooKeeper, require_zookeeper

from loader.client import Client
from loader.errors import LoaderError

SERVICE = "reader"
LIMIT_S = 40
TOML = """
    [reader]
    host = "127.0.0.1"
    port = 0
    finder = 1

    [wrapper]
    http_listen = "127.0.0.1:0"
    "common.lic" = "10"

    [fc]
    max = 4
"""
WRAPPER = """
    import json
    import time
    from pathlib import Path

    from aiges.dto import Response, ResponseData

    class Wrapper:
        def wrapperInit(self, config):
            self.config = dict(config)
            return 0

        def wrapperOnceExec(self, params, reqData):
            if reqData.list[0].get_data() == b"wait":
                Path("waiting").touch()
                end = time.monotonic() + 30
                while not Path("go").exists() and time.monotonic() < end:
                    time.sleep(0.02)
            node = ResponseData()
            node.key = "result"
            node.setData(json.dumps(self.config).encode())
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

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    ready: dict[str, Any] = field(default_factory=dict)

    def value(self) -> str:
        """What the wrapper got as common.lic."""
        with Client(self.ready["grpc"]) as client:
            return str(json.loads(str(client.exec(SERVICE, {"img": b"x"})[0]["result"]))["common.lic"])

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.ready['http']}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"loader_{name} ")))


@dataclass
class Scene:
    """A service in a finder of its own, and the folder of one loader."""

    console: Console
    folder: Path

    def command(self) -> list[str]:
        at = self.console
        return command("aiges", "-m", "1", "-p", "AIpaas", "-g", "hu", "-s", SERVICE, "-u", at.companion.url)

    def environment(self, cache: str = "cache") -> dict[str, str]:
        named = {"AIGES_PLUGIN_MODE": "python", "AIGES_WRAPPER_VERSION": self.console.version}
        return {**os.environ, **named, "XDG_CACHE_HOME": str(self.folder / cache)}

    @contextmanager
    def start(self) -> Iterator[Started]:
        """Ended with its hosts."""
        log = (self.folder / "loader.log").open("ab")
        process = subprocess.Popen(
            self.command(), cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, stderr=log
        )
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S), self.log_text()
            line = process.stdout.readline()
            assert line, self.log_text()
            yield Started(process, log, json.loads(line))
            process.terminate()
            assert process.wait(30) == 0, self.log_text()
        finally:
            process.kill()
            process.wait(30)
            process.stdout.close()
            log.close()

    def log_text(self) -> str:
        return (self.folder / "loader.log").read_text()

    def publish(self, value: str, push_id: str) -> None:
        self.console.push(dedent(TOML).replace('"10"', f'"{value}"'), push_id)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """With a ZooKeeper that the module may end."""
    require_zookeeper()
    folder = tmp_path_factory.mktemp("finder-loader")
    (folder / "wrapper.py").write_text(dedent(WRAPPER))
    server = ZooKeeper(folder / "zookeeper")
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        yield Scene(stack.enter_context(console_of(server, SERVICE)), folder)


@pytest.fixture(scope="module")
def started(scene: Scene) -> Iterator[Started]:
    scene.publish("10", "first")
    with scene.start() as one:
        yield one


def test_it_serves_what_the_finder_holds_and_clients_of_aiges_find_it(started: Started, scene: Scene) -> None:
    """Registered when it is ready, with an address to dial and data that leaves it enabled; acknowledged."""
    console = scene.console
    (address,) = until(console.providers, "registered", LIMIT_S)
    assert address == started.ready["grpc"]
    push_id, data = unframed(console.data(f"{console.provider_path}/{address}"))
    assert (push_id, json.loads(data)) == ("", {"sdk": {"is_valid": True}, "user": {}})
    client = Xsf(address, timeout_ms=10_000)
    try:
        output = client.once(SERVICE, [payload("img", b"x")])
    finally:
        client.close()
    assert json.loads(output.pl[0].data)["common.lic"] == "10"
    said = console.feedback_of("first", LIMIT_S)
    assert (said["load_status"], said["addr"], said["config"]) == ("1", "127.0.0.1", "aiges.toml")
    assert console.consumers() == ["127.0.0.1"]


def test_our_tools_find_it_there(started: Started, scene: Scene) -> None:
    """`loader resolve` and a client, by the URL of the finder; not where a console has disabled it."""
    console = scene.console
    (address,) = until(console.providers, "registered", LIMIT_S)

    def resolved() -> str:
        ended = subprocess.run(
            command("resolve", console.url, SERVICE), capture_output=True, text=True, timeout=60, check=False
        )
        return ended.stdout.strip()

    assert resolved() == address
    with Client(console.url) as client:
        assert client.exec(SERVICE, {"img": b"x"})
    path = f"{console.provider_path}/{address}"
    before = console.data(path)
    console.put(path, b'\0\0\0\1p{"sdk": {"is_valid": false}}')
    assert resolved() == ""
    console.put(path, before)


@contextmanager
def calling(address: str) -> Iterator[list[str]]:
    """One call after the other; the errors among them. There is one at least before and after the block."""
    errors: list[str] = []
    has_begun, is_over = threading.Event(), threading.Event()

    def call() -> None:
        with Client(address) as client:
            while True:
                is_last = is_over.is_set()
                try:
                    client.exec(SERVICE, {"img": b"x"}, timeout_s=LIMIT_S)
                except LoaderError as error:
                    errors.append(str(error))
                has_begun.set()
                if is_last:
                    return

    thread = threading.Thread(target=call)
    thread.start()
    try:
        assert has_begun.wait(LIMIT_S)
        yield errors
    finally:
        is_over.set()
        thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_it_serves_on_while_its_zookeeper_dies_and_comes_back(started: Started, scene: Scene) -> None:
    """No call fails; afterwards it is found as before, and what is pushed is applied."""
    console = scene.console
    (address,) = until(console.providers, "registered", LIMIT_S)
    with calling(address) as errors:
        console.zookeeper.kill()
        until(lambda: started.metric("center_reachable") == 0, "that it is away is seen", LIMIT_S)
        console.zookeeper.restart()
        until(lambda: started.metric("center_reachable") == 1, "that it is back is seen", LIMIT_S)
        scene.publish("back", "after")
        assert console.feedback_of("after", LIMIT_S)["load_status"] == "1"
        assert started.value() == "back"
        until(lambda: console.providers() == [address], "registered again", LIMIT_S)
        until(lambda: console.consumers() == ["127.0.0.1"], "seen as a consumer again", LIMIT_S)
    assert errors == []
    assert started.process.poll() is None


def test_a_push_is_applied_while_it_serves(started: Started, scene: Scene) -> None:
    """And a bad one is not: told to the console, and the last good one stays."""
    scene.publish("11", "second")
    assert scene.console.feedback_of("second", LIMIT_S)["load_status"] == "1"
    assert started.value() == "11"
    scene.console.push("[broken", "bad")
    assert scene.console.feedback_of("bad", LIMIT_S)["load_status"] == "-1"
    assert started.value() == "11"
    scene.publish("11", "again")
    assert scene.console.feedback_of("again", LIMIT_S)["load_status"] == "1"
    scene.publish("12", "third")
    assert scene.console.feedback_of("third", LIMIT_S)["load_status"] == "1"
    assert started.value() == "12"


def test_it_withdraws_before_it_waits_for_its_calls(started: Started, scene: Scene) -> None:
    """At SIGTERM nobody finds it any more, while the call that it has goes on."""
    until(scene.console.providers, "registered", LIMIT_S)
    with Client(started.ready["grpc"]) as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.exec, SERVICE, {"img": b"wait"}, timeout_s=60)
        until((scene.folder / "waiting").exists, "the call is with the wrapper", LIMIT_S)
        started.process.send_signal(signal.SIGTERM)
        until(lambda: not scene.console.providers(), "withdrawn", LIMIT_S)
        assert not call.done()
        assert started.process.poll() is None
        (scene.folder / "go").touch()
        assert json.loads(str(call.result(60)[0]["result"]))["common.lic"] == "12"
    assert started.process.wait(30) == 0
    assert scene.console.consumers() == []


def test_it_starts_from_its_cache_and_without_one_says_what_is_missing(scene: Scene) -> None:
    """Companion and ZooKeeper are away: the last good configuration serves, and one sentence where there is none."""
    if not list((scene.folder / "cache").glob("**/*.json")):
        scene.publish("12", "before")
        with scene.start():
            pass
    scene.console.companion.stop()
    scene.console.zookeeper.kill()
    for kept in (scene.folder / "cache").glob(
        "**/finder-*.json"
    ):  # else it looks for ZooKeeper first, for seconds
        kept.unlink()
    with scene.start() as again:
        assert again.value() == "12"
        assert again.metric("center_reachable") == 0
    ended = subprocess.run(
        scene.command(), cwd=scene.folder, env=scene.environment("empty"), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 3
    assert "query_zk_info" in ended.stderr
    assert "there is no earlier configuration to serve" in ended.stderr
    assert "Traceback" not in ended.stderr

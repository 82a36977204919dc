"""`loader gateway` in front of several loaders: finding them, losing them, and its own end."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from consul_agent import ConsulAgent
from faces_service import engines
from fleet import Fleet
from gateway_process import GatewayProcess
from plugin_command import command_of, generate
from running import Running, command, until
from web_client import Talk, Web, b64, summary_of
from websockets.exceptions import ConnectionClosed

HI = {"text": {"text": b64("hi"), "status": 3}}


def one_engine() -> dict[str, Any]:
    """The actor, which tells nothing of its node."""
    return {"actor": engines()["actor"]}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Two loaders in a registry that is a folder; one has an engine more."""
    with Fleet(tmp_path, f"file:{tmp_path / 'registry'}") as nodes:
        nodes.add("a", one_engine())
        nodes.add("b", one_engine() | {"extra": engines()["typed"]})
        yield nodes.ready()


def sessions_at(fleet: Fleet) -> dict[str, int]:
    """How many sessions each node that answers has open."""
    import grpc

    from loader.v1 import admin_pb2, admin_pb2_grpc

    found = {}
    for name, node in fleet.nodes.items():
        with grpc.insecure_channel(node.address) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            found[name] = len(stub.ListSessions(admin_pb2.ListSessionsRequest(), timeout=20).sessions)
    return found


def opened(web: Web) -> Talk:
    talk = web.open("actor").__enter__()
    talk.write("x")
    assert [summary_of(talk.hear())[1] for _ in range(2)] == [0, 1]
    return talk


def test_many_loaders_behind_one_address(fleet: Fleet, tmp_path: Path) -> None:
    """Sessions spread over the nodes and stay there; a drained node gets none, a killed one takes its own with it."""
    with GatewayProcess(tmp_path, "--address", fleet.registry) as gateway:
        web = gateway.web
        assert web.ask("GET", "/healthz").content == b"ok\n"
        assert web.ask("GET", "/readyz").json == {"ready": True, "engines": 2}
        assert web.post("extra", payload=HI).code == 0  # only one node has it
        assert set(web.ask("GET", "/openapi.json").json["paths"]) == {
            "/v1/private/actor",
            "/v1/private/extra",
        }
        talks = [opened(web) for _ in range(12)]
        try:
            before = sessions_at(fleet)
            assert sum(before.values()) == 12
            assert min(before.values()) > 0
            fleet.nodes["b"].drain()
            assert all(web.do("actor").code == 0 for _ in range(10))
            for talk in talks:
                talk.write("y")
                assert summary_of(talk.hear()) == (0, 1, {"text": "Y"})
            fleet.nodes["b"].undrain()
            fleet.nodes["a"].kill()
            codes = [ended(talk) for talk in talks]
            assert codes.count(10200) == before["a"]
            assert codes.count(0) == before["b"]
            assert all(web.do("actor").code == 0 for _ in range(10))
            fleet.nodes["b"].kill()
            until(lambda: web.ask("GET", "/readyz").status == 503, "that nobody answers is seen")
            answers = [web.post("extra", payload=HI) for _ in range(3)]
            assert {(one.status, one.code) for one in answers} == {(500, 10002)}
        finally:
            for talk in talks:
                talk.__exit__()
        gateway.signal()
        assert gateway.wait() == 0


def ended(talk: Talk) -> int:
    """Ends the input; the code of the last frame."""
    with suppress(ConnectionClosed):  # of a node that is gone
        talk.write("z", 2)
    return int(talk.rest()[-1]["header"]["code"])


def test_it_ends_when_what_is_open_has_ended(service: Running, tmp_path: Path) -> None:
    """New calls are refused with 10110 meanwhile, and it is not ready."""
    with GatewayProcess(tmp_path, "--address", service.ready["grpc"]) as gateway:
        talk = opened(gateway.web)
        gateway.signal()
        until(lambda: gateway.web.do("actor").code == 10110, "new calls are refused")
        assert gateway.web.ask("GET", "/readyz").status == 503
        with gateway.web.open("actor") as late:
            assert late.rest()[0]["header"]["code"] == 10110
        talk.write("last", 2)
        assert talk.summary() == [(0, 1, {"text": "LAST"}), (0, 2, {})]
        talk.__exit__()
        assert gateway.wait() == 0


@pytest.mark.parametrize("is_forced", [True, False])
def test_what_does_not_end_in_time_is_told_so(service: Running, tmp_path: Path, is_forced: bool) -> None:
    """10019 after --drain-timeout, or at once after a second signal, which the exit code says."""
    wait_s = "60" if is_forced else "0.2"
    with GatewayProcess(tmp_path, "--address", service.ready["grpc"], "--drain-timeout", wait_s) as gateway:
        talk = opened(gateway.web)
        gateway.signal()
        if is_forced:
            until(lambda: gateway.web.do("actor").code == 10110, "it drains")
            gateway.signal()
        assert talk.rest()[-1]["header"]["code"] == 10019
        talk.__exit__()
        assert gateway.wait() == (5 if is_forced else 0)


def require_ipv6() -> None:
    """Skips where this machine has no ::1."""
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error.strerror}")


def test_everything_speaks_ipv6(tmp_path: Path) -> None:
    """A loader's faces, the registry that names it, the gateway that finds it there: calls and sessions."""
    require_ipv6()
    registry = f"file:{tmp_path / 'registry'}"
    config = {"engines": one_engine(), "registry": registry}
    listen = ("--grpc", "[::1]:0", "--http", "[::1]:0")
    with (
        Running(tmp_path, json.dumps(config), listen) as loader,
        GatewayProcess(tmp_path, "--listen", "[::1]:0", "--address", registry) as found,
        GatewayProcess(tmp_path, "--listen", "[::1]:0", "--address", loader.ready["grpc"]) as named,
    ):
        for web in (Web(loader.ready["http"]), found.web, named.web):
            assert web.address.startswith("[::1]:")
            until(lambda web=web: web.ask("GET", "/readyz").status == 200, "the loader is found")
            assert web.do("actor").code == 0
            with web.open("actor") as talk:
                talk.write("x", 2)
                assert talk.summary() == [(0, 0, {}), (0, 1, {"text": "X"}), (0, 2, {})]


def test_that_its_loader_is_gone_is_seen(tmp_path: Path) -> None:
    """It is not ready; calls hear why."""
    with (
        Running(tmp_path, json.dumps({"engines": one_engine()})) as loader,
        GatewayProcess(tmp_path, "--address", loader.ready["grpc"]) as gateway,
    ):
        assert gateway.web.ask("GET", "/readyz").status == 200
        loader.process.kill()
        loader.process.wait(20)
        answer = gateway.web.ask("GET", "/readyz")
        assert (answer.status, answer.json["ready"]) == (503, False)
        assert gateway.web.do("actor").code == 10002


def test_without_a_registry_it_lives_and_says_so(tmp_path: Path) -> None:
    """As without a loader."""
    with GatewayProcess(tmp_path, "--address", "consul://127.0.0.1:1/speech") as gateway:
        assert gateway.web.ask("GET", "/readyz").status == 503
        failed = gateway.web.do("actor")
        assert (failed.status, failed.code) == (500, 10002)
        assert "consul://127.0.0.1:1" in failed.message


def test_without_a_loader_it_lives_and_says_so(tmp_path: Path) -> None:
    """It may start first; calls are told that nobody answers."""
    (tmp_path / "empty").mkdir()
    with GatewayProcess(tmp_path, "--address", "127.0.0.1:1") as gateway:
        answer = gateway.web.ask("GET", "/readyz")
        assert (answer.status, answer.json["ready"]) == (503, False)
        assert "127.0.0.1:1" in answer.json["error"]
        failed = gateway.web.do("actor")
        assert (failed.status, failed.code) == (500, 10002)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--listen", "127.0.0.1:1x"), 2, "--listen"),
        (("--address", "nowhere"), 2, "--address"),
        (("--address", "consul://"), 2, "consul://"),
        (("--listen", "192.0.2.1:0"), 4, "cannot listen on 192.0.2.1:0"),
        (("--listen-certificate", __file__), 2, "--listen-key"),
        (("--listen-certificate", __file__, "--listen-key", __file__), 2, "unencrypted"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments: tuple[str, ...], code: int, text: str) -> None:
    """Before anything listens."""
    line = command("gateway", *(() if "--listen" in arguments else ("--listen", "127.0.0.1:0")), *arguments)
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, text in done.stderr.replace("\n", " ")) == (code, True), done.stderr


def test_nodes_are_found_in_consul_and_a_command_answers_over_http(
    shared_consul: ConsulAgent, prefix: str, tmp_path: Path
) -> None:
    """An engine of AIGES's plug-in protocol is called and has sessions as any other, wherever it is."""
    child = command_of(generate(tmp_path), "tcp")
    with Fleet(tmp_path, shared_consul.url(prefix)) as fleet:
        fleet.add("a", one_engine() | {"child": {"command": child, "slots": 2}})
        fleet.ready()
        with GatewayProcess(tmp_path, "--address", fleet.registry) as gateway:
            web = gateway.web
            assert web.ask("GET", "/readyz").json == {"ready": True, "engines": 2}
            answer = web.post("child", header={"sid": "s"}, parameter={"p": {"rate": 8000}}, payload=HI)
            assert answer.code == 0, answer.content
            (result,) = answer.json["payload"].values()
            assert json.loads(result["text"])["params"] == {"rate": "8000", "sid": "s"}

"""Where the faces answer, how they reach an encrypted loader, what they keep open, and how long they wait."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from authority import Authority, Identity
from faces_service import engines
from gateway_process import GatewayProcess
from running import Running, until
from web_client import TIMEOUT_S, Web, summary_of
from websockets.sync.client import connect

from loader.client import AsyncClient
from loader.gateway import faces
from loader.gateway.local import private_folder
from loader.gateway.settings import Settings


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the loader's certificate and its clients'."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Running]:
    """A loader that wants certificates of clients, and whose WebSockets are short."""
    server = authority.issue("server")
    tls = {
        "certificate": str(server.certificate),
        "key": str(server.key),
        "client_ca": str(authority.certificate),
    }
    aiges = {"ws_read_timeout_s": 1.2, "ws_session_timeout_s": 3.5}
    config = {"tls": tls, "aiges": aiges, "engines": {"actor": engines()["actor"]}}
    folder = tmp_path_factory.mktemp("guarded")
    with pytest.MonkeyPatch.context() as patch:
        (folder / "tmp").mkdir()
        patch.setenv("TMPDIR", str(folder / "tmp"))
        running = Running(folder, json.dumps(config))
        running.__enter__()
    try:
        yield running
    finally:
        running.__exit__(None, None, None)


def sockets(running: Running) -> list[Path]:
    return list((running.folder / "tmp").glob("loader-*/grpc"))


def test_nothing_is_opened_before_somebody_asks(guarded: Running) -> None:
    """No socket, no gRPC; then one socket that only its owner may reach, whatever the public port wants."""
    web = Web(guarded.ready["http"])
    assert web.ask("GET", "/").status == 302
    assert web.ask("GET", "/readyz").status == 200
    maps = psutil.Process(guarded.process.pid).memory_maps()
    assert not [one.path for one in maps if "cygrpc" in one.path]
    assert sockets(guarded) == []
    assert web.do("actor").code == 0
    (file,) = sockets(guarded)
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_what_a_killed_loader_leaves_is_removed_by_the_next(
    guarded: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its socket file and folder; those of one that lives stay, and what is in such a folder and not a loader's."""
    temporary = guarded.folder / "tmp"
    assert Web(guarded.ready["http"]).do("actor").code == 0
    (living,) = sockets(guarded)
    with monkeypatch.context() as patch:
        patch.setenv("TMPDIR", str(temporary))
        killed = Running(tmp_path, json.dumps({"engines": {"actor": engines()["actor"]}})).__enter__()
    try:
        assert Web(killed.ready["http"]).do("actor").code == 0
        (left,) = set(sockets(guarded)) - {living}
    finally:
        killed.process.kill()
        killed.__exit__(None, None, None)
    assert left.exists()
    foreign = temporary / "loader-grpc-foreign"
    foreign.mkdir()
    (foreign / "precious").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with private_folder() as mine:
        assert set(temporary.iterdir()) == {Path(mine), living.parent, foreign}
    assert Web(guarded.ready["http"]).do("actor").code == 0
    shutil.rmtree(foreign)


def test_folders_that_are_made_at_the_same_time_do_not_remove_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One may be seen before its lock."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def make(_: int) -> None:
        for _ in range(50):
            with private_folder() as mine:
                (Path(mine) / "grpc").touch()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    assert list(tmp_path.iterdir()) == []


def test_a_session_without_frames_is_closed(guarded: Running) -> None:
    """10114, unless its input has ended: then it may take the engine as long as it takes."""
    web = Web(guarded.ready["http"])
    with web.open("actor") as talk:
        talk.write("x")
        last = talk.rest()[-1]
        assert last["header"]["code"] == 10114
        assert "1.2 s" in last["header"]["message"]
    with web.open("actor") as talk:
        (only,) = talk.rest()
        assert only["header"]["code"] == 10114


def test_a_body_that_stops_coming_is_not_waited_for(guarded: Running) -> None:
    """10114."""
    host, _, port = guarded.ready["http"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(b"POST /v1/private/actor HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        said = client.recv(65536)
        while b'"payload":null' not in said:
            part = client.recv(65536)
            assert part, said
            said += part
    assert said.startswith(b"HTTP/1.1 500 ")
    assert b'"code":10114' in said


def test_a_body_that_trickles_in_is_not_waited_for(guarded: Running) -> None:
    """10114: it takes a place from others."""
    host, _, port = guarded.ready["http"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=0.1) as client:
        client.sendall(b"POST /v1/private/actor HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{")
        for _ in range(300):
            try:
                said = client.recv(65536)
                break
            except TimeoutError:
                client.sendall(b" ")
        else:
            raise AssertionError("no answer within 30 s")
    assert said.startswith(b"HTTP/1.1 500 ")


def test_no_more_than_so_many_are_open(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that is too many is refused with 10110."""
    monkeypatch.setattr(faces, "MOST_OPEN", 0)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/private/actor", "headers": []}
        async with AsyncClient(f"unix:{sockets(guarded)[0]}") as client:
            await faces.Faces(client, Settings)(scope, receive, send)

    asyncio.run(ask())
    answer = json.loads(sent[1]["body"])
    assert (sent[0]["status"], answer["header"]["code"]) == (500, 10110)


def test_a_session_has_a_longest_time(guarded: Running) -> None:
    """10114, also while it waits for its engine."""
    web = Web(guarded.ready["http"])
    with web.open("actor") as talk:
        talk.write("x", 2, parameter={"p": {"mode": "stuck", "name": "never"}})
        last = talk.rest()[-1]
        assert last["header"]["code"] == 10114
        assert "3.5 s" in last["header"]["message"]
    reason = web.do("actor", mode="reason", name="never").json["payload"]["text"]["text"]
    assert reason == "client_cancel"


def test_a_gateway_speaks_tls_on_both_sides(guarded: Running, authority: Authority, tmp_path: Path) -> None:
    """With a client's certificate to loaders, and HTTPS to its own clients."""
    mine, its = authority.issue("gateway"), authority.issue("web")
    arguments = [
        "--address", guarded.ready["grpc"], "--ca", authority.certificate, "--certificate", mine.certificate,
        "--key", mine.key, "--listen-certificate", its.certificate, "--listen-key", its.key,
    ]  # fmt: skip
    with GatewayProcess(tmp_path, *map(str, arguments)) as gateway:
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        url = f"https://{gateway.web.address}/v1/private/actor"
        body = json.dumps({"payload": {"text": {"text": "aGk="}}}).encode()
        with urllib.request.urlopen(url, body, TIMEOUT_S, context=trust) as answer:
            assert json.load(answer)["header"]["code"] == 0


def certificate_at(address: str) -> bytes:
    """What a new connection is shown; with and without a server's name."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found: set[bytes | None] = set()
    for name in ("localhost", None):
        with (
            socket.create_connection((host, int(port)), TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            found.add(secure.getpeercert(binary_form=True))
    (one,) = found
    assert one is not None
    return one


def test_a_gateway_follows_its_certificate(authority: Authority, tmp_path: Path) -> None:
    """New connections get the new one, open ones stay; a key that does not fit is told, and changes nothing."""
    first, second, third = (authority.issue(f"rotated-{number}") for number in range(3))
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"

    def put(file: Path, content: bytes) -> None:
        beside = file.with_suffix(".new")
        beside.write_bytes(content)
        beside.replace(file)

    def shows(identity: Identity) -> bool:
        der = ssl.PEM_cert_to_DER_cert(identity.certificate.read_text())
        return certificate_at(gateway.web.address) == der

    put(certificate, first.certificate.read_bytes())
    put(key, first.key.read_bytes())
    files = ("--listen-certificate", str(certificate), "--listen-key", str(key))
    with GatewayProcess(tmp_path, "--address", "127.0.0.1:1", *files) as gateway:
        assert shows(first)
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        with connect(
            f"wss://{gateway.web.address}/ping", ssl=trust, proxy=None, open_timeout=TIMEOUT_S
        ) as old:
            put(certificate, second.certificate.read_bytes())
            put(key, second.key.read_bytes())
            until(lambda: shows(second), "the new one is shown")
            old.send("ping")
            assert old.recv(TIMEOUT_S) == "pong"
        put(key, first.key.read_bytes())
        until(lambda: "certificates refused" in gateway.log_text(), "that it does not fit is told")
        assert str(key) in gateway.log_text()
        assert shows(second)
        put(certificate, third.certificate.read_bytes())
        put(key, third.key.read_bytes())
        until(lambda: shows(third), "what fits is taken")


def test_a_loader_that_ends_lets_sessions_come_to_theirs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """New calls are refused with 10110 meanwhile; the socket file is gone with the loader."""
    tmp_path = tmp_path_factory.mktemp("ends")  # short: the name of a socket file has a limit
    config = {"drain_timeout_s": 20, "engines": {"actor": engines()["actor"]}}
    with pytest.MonkeyPatch.context() as patch:
        (tmp_path / "tmp").mkdir()
        patch.setenv("TMPDIR", str(tmp_path / "tmp"))
        running = Running(tmp_path, json.dumps(config)).__enter__()
    web = Web(running.ready["http"])
    try:
        with web.open("actor") as talk:
            talk.write("x")
            assert [summary_of(talk.hear())[1] for _ in range(2)] == [0, 1]
            assert sockets(running) != []
            running.process.send_signal(signal.SIGTERM)
            until(lambda: web.do("actor").code == 10110, "new calls are refused")
            talk.write("last", 2)
            assert talk.summary() == [(0, 1, {"text": "LAST"}), (0, 2, {})]
        assert running.process.wait(40) == 0
        assert sockets(running) == []
    finally:
        running.__exit__(None, None, None)


def test_the_faces_can_be_turned_off_and_on(guarded: Running) -> None:
    """Live; the port goes on answering what else it answers."""
    web = Web(guarded.ready["http"])
    config: dict[str, Any] = json.loads(guarded.file.read_text())
    off = config | {"aiges": config["aiges"] | {"http": False}}
    assert web.do("actor").code == 0
    guarded.rewrite(json.dumps(off))
    until(lambda: web.do("actor").status == 404, "the faces are off")
    assert b"aiges.http" in web.ask("GET", "/swagger/index.html").content
    assert web.ask("GET", "/readyz").status == 200
    guarded.rewrite(json.dumps(config))
    until(lambda: web.do("actor").status == 200, "the faces are on")
    with web.open("actor") as talk:
        talk.write("x", 2)
        assert [summary_of(one)[0] for one in talk.rest()] == [0, 0, 0]

"""Who may administrate: loopback, admin_listen, and clients that a certificate has authenticated; nobody else."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest
from authority import Authority, Identity
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from running import Running, until

from loader.client import Client
from loader.errors import AdminNotAllowedError
from loader.v1 import admin_pb2, admin_pb2_grpc

Start = Callable[..., Running]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def outside() -> str:
    """An address of this machine that is not loopback."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family is socket.AF_INET and not one.address.startswith("127."):
                return one.address
    pytest.skip("this machine has only loopback: nothing here looks like another machine")


def config(wrapper: Path, **keys: object) -> str:
    return json.dumps({"engines": {"echo": {"wrapper": str(wrapper)}}, **keys})


OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
ALLOWED, REFUSED = (OK, OK), (DENIED, DENIED)


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    """How a call ends."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return OK


def access(channel: grpc.Channel) -> tuple[grpc.StatusCode, grpc.StatusCode]:
    """How AdminService and reflection answer."""
    admin = admin_pb2_grpc.AdminServiceStub(channel)
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    return (
        code_of(lambda: admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=30)),
        code_of(lambda: list(reflection.ServerReflectionInfo(iter([question]), timeout=30))),
    )


def test_loopback_may_do_everything(start: Start, wrapper: Write) -> None:
    """The default: one port on loopback for all."""
    running = start(config(wrapper("echo")))
    assert "admin" not in running.ready
    assert access(running.channel) == ALLOWED


def test_another_machine_may_call_engines_and_nothing_more(
    start: Start, wrapper: Write, outside: str
) -> None:
    """From a public address engines and health answer; administration, reflection and a drain do not."""
    running = start(config(wrapper("echo")), "--grpc", f"{outside}:0")
    assert running.ready["grpc"].startswith(f"{outside}:")
    assert running.echo("echo") == "hello"
    with Client(running.ready["grpc"]) as client:
        assert [engine.name for engine in client.describe()] == ["echo"]
    assert access(running.channel) == REFUSED
    assert code_of(lambda: running.admin.Drain(admin_pb2.DrainRequest(), timeout=30)) is DENIED
    watch = running.admin.WatchEvents(admin_pb2.WatchEventsRequest(), timeout=30)
    assert code_of(lambda: next(watch)) is DENIED
    assert running.echo("echo") == "hello"


def test_the_refusal_is_typed(start: Start, wrapper: Write, outside: str) -> None:
    """ErrorInfo and our own error travel with it, so that a program can tell it from others."""
    from loader.client.failures import from_rpc

    running = start(config(wrapper("echo")), "--grpc", f"{outside}:0")
    with pytest.raises(grpc.RpcError) as caught:
        running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=30)
    assert isinstance(from_rpc(caught.value, ""), AdminNotAllowedError)


def test_admin_listen_serves_administration_beside_a_public_port(
    start: Start, wrapper: Write, outside: str
) -> None:
    """The ready line names its address; every interface may be the public one."""
    running = start(config(wrapper("echo"), admin_listen=f"{outside}:0"), "--grpc", "0.0.0.0:0")
    port = running.ready["grpc"].rpartition(":")[2]
    with grpc.insecure_channel(f"{outside}:{port}") as public:
        assert access(public) == REFUSED
    with grpc.insecure_channel(f"127.0.0.1:{port}") as near:
        assert access(near) == ALLOWED
    with grpc.insecure_channel(running.ready["admin"]) as admin:
        assert access(admin) == ALLOWED


def test_admin_listen_may_be_a_socket_file(
    start: Start, wrapper: Write, outside: str, tmp_path: Path
) -> None:
    """Then the file's permissions decide."""
    running = start(config(wrapper("echo"), admin_listen=f"unix:{tmp_path}/a.sock"), "--grpc", f"{outside}:0")
    with grpc.insecure_channel(running.ready["admin"]) as admin:
        assert access(admin) == ALLOWED
    assert access(running.channel) == REFUSED


def test_a_certificate_that_names_its_owner_may_administrate(
    start: Start, wrapper: Write, outside: str, tmp_path: Path
) -> None:
    """With client_ca authentication is configured: a URI or DNS name lets in, a bare certificate does not.

    Both may call engines.
    """
    authority = Authority(tmp_path)
    server = authority.issue("server", f"IP:{outside}")
    tls = {
        "certificate": str(server.certificate),
        "key": str(server.key),
        "client_ca": str(authority.certificate),
    }
    running = start(config(wrapper("echo"), tls=tls), "--grpc", f"{outside}:0")

    def channel(identity: Identity) -> grpc.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        return grpc.secure_channel(running.ready["grpc"], authority.credentials(identity), options)

    for names, is_named in (("URI:spiffe://test/operator", True), ("DNS:operator.test", True), ("", False)):
        with channel(authority.issue("operator", names)) as one:
            assert access(one) == (ALLOWED if is_named else REFUSED)
            running.engine = type(running.engine)(one)
            assert running.echo("echo") == "hello"


def test_tls_alone_is_no_authentication(start: Start, wrapper: Write, outside: str, tmp_path: Path) -> None:
    """Encryption without client certificates says nothing about who calls."""
    authority = Authority(tmp_path)
    server = authority.issue("server", f"IP:{outside}")
    tls = {"certificate": str(server.certificate), "key": str(server.key)}
    running = start(config(wrapper("echo"), tls=tls), "--grpc", f"{outside}:0")
    with grpc.secure_channel(running.ready["grpc"], authority.credentials()) as channel:
        assert access(channel) == REFUSED


def secured(channel_to: str, credentials: grpc.ChannelCredentials) -> tuple[grpc.StatusCode, grpc.StatusCode]:
    """What a client with these credentials is answered, on a connection of its own."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(channel_to, credentials, options) as channel:
        return access(channel)


def test_an_admin_address_that_others_reach_is_encrypted_as_the_public_one(
    start: Start, wrapper: Write, outside: str, tmp_path: Path
) -> None:
    """With client_ca it wants a certificate, any of that authority; plain text and strangers are turned away."""
    authority = Authority(tmp_path)
    (tmp_path / "stranger").mkdir()
    stranger = Authority(tmp_path / "stranger")
    server, operator = authority.issue("server", f"IP:{outside}"), authority.issue("operator", "")
    tls = {
        "certificate": str(server.certificate),
        "key": str(server.key),
        "client_ca": str(authority.certificate),
    }
    running = start(config(wrapper("echo"), tls=tls, admin_listen=f"{outside}:0"), "--grpc", f"{outside}:0")
    assert secured(running.ready["admin"], authority.credentials(operator)) == ALLOWED
    assert secured(running.ready["grpc"], authority.credentials(operator)) == REFUSED
    unavailable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE)
    assert secured(running.ready["admin"], authority.credentials()) == unavailable
    assert secured(running.ready["admin"], authority.credentials(stranger.issue("operator"))) == unavailable
    with grpc.insecure_channel(running.ready["admin"]) as plain:
        assert access(plain) == unavailable


@pytest.mark.parametrize("place", ["loopback", "socket"])
def test_an_admin_address_of_this_machine_stays_plain(
    start: Start, wrapper: Write, outside: str, tmp_path: Path, place: str
) -> None:
    """Beside an encrypted public port."""
    authority = Authority(tmp_path)
    server = authority.issue("server", f"IP:{outside}")
    tls = {"certificate": str(server.certificate), "key": str(server.key)}
    address = "127.0.0.1:0" if place == "loopback" else f"unix:{tmp_path}/a.sock"
    running = start(config(wrapper("echo"), tls=tls, admin_listen=address), "--grpc", f"{outside}:0")
    with grpc.insecure_channel(running.ready["admin"]) as admin:
        assert access(admin) == ALLOWED
    assert secured(running.ready["grpc"], authority.credentials()) == REFUSED


def replace_files(place: Identity, identity: Identity) -> None:
    for old, new in ((place.key, identity.key), (place.certificate, identity.certificate)):
        beside = old.with_suffix(".beside")
        beside.write_bytes(new.read_bytes())
        beside.replace(old)


def test_an_encrypted_admin_port_takes_replaced_certificates(
    start: Start, wrapper: Write, outside: str, tmp_path: Path
) -> None:
    """With the public one."""
    old, new = Authority(tmp_path), Authority(tmp_path, "new")
    first, second = old.issue("server", f"IP:{outside}"), new.issue("server", f"IP:{outside}")
    tls = {"certificate": str(first.certificate), "key": str(first.key)}
    outer = start(config(wrapper("echo"), tls=tls, admin_listen=f"{outside}:0"), "--grpc", f"{outside}:0")
    assert secured(outer.ready["admin"], old.credentials()) == ALLOWED
    replace_files(first, second)
    until(lambda: outer.log_lines("certificates replaced"), "the new files were taken")
    assert secured(outer.ready["admin"], new.credentials()) == ALLOWED


def test_a_plain_admin_port_stays_plain_when_certificates_are_replaced(
    start: Start, wrapper: Write, outside: str, tmp_path: Path
) -> None:
    """New files are for listeners that encrypt."""
    old, new = Authority(tmp_path), Authority(tmp_path, "new")
    first, second = old.issue("server", f"IP:{outside}"), new.issue("server", f"IP:{outside}")
    tls = {"certificate": str(first.certificate), "key": str(first.key)}
    running = start(config(wrapper("echo"), tls=tls, admin_listen="127.0.0.1:0"), "--grpc", f"{outside}:0")
    replace_files(first, second)
    until(lambda: running.log_lines("certificates replaced"), "the new files were taken")
    with grpc.insecure_channel(running.ready["admin"]) as admin:
        assert access(admin) == ALLOWED
    assert secured(running.ready["grpc"], new.credentials()) == REFUSED


def test_an_address_that_is_not_of_this_machine_ends_with_4(
    wrapper: Write, tmp_path: Path, start: Start
) -> None:
    """The key's mistake is told, not a traceback."""
    with pytest.raises(AssertionError, match=r"ended with 4") as caught:
        start(config(wrapper("echo"), admin_listen="198.51.100.1:0"))
    assert "cannot listen on 198.51.100.1:0" in str(caught.value)
    assert "Traceback" not in str(caught.value)

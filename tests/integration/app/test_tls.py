"""TLS and mutual TLS through `loader --config`, with clients, certificates and files as people have them."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from authority import Authority, Identity, openssl
from running import Running, command, until

from loader.client import AsyncClient, Client, ConnectionFailedError

Start = Callable[..., Running]
Write = Callable[..., Path]

LIMIT_S = 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, which nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def server(authority: Authority) -> Identity:
    return authority.issue("server")


@pytest.fixture(scope="module")
def friend(authority: Authority) -> Identity:
    return authority.issue("friend", "URI:spiffe://test/friend")


def config(wrapper: Path, server: Identity, client_ca: Path | None = None) -> str:
    tls = {"certificate": str(server.certificate), "key": str(server.key)}
    if client_ca is not None:
        tls["client_ca"] = str(client_ca)
    return json.dumps({"tls": tls, "engines": {"echo": {"wrapper": str(wrapper), "slots": 4}}})


def echo(running: Running, credentials: object, host: str = "127.0.0.1") -> str:
    """One exec on a connection of its own. Raises: LoaderError."""
    port = running.ready["grpc"].rpartition(":")[2]
    # A channel of the same arguments would share the connection that another one has open.
    alone = [("grpc.use_local_subchannel_pool", 1)]
    with Client(f"{host}:{port}", credentials=credentials, options=alone) as client:
        return str(client.exec("echo", {"text": "hello"}, timeout_s=LIMIT_S)[0]["text"])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)


def refused_peers(running: Running) -> list[str]:
    """What the log says of handshakes that failed."""
    return [line["line"] for line in running.log_lines("engine log") if "TLS handshake" in line["line"]]


# ---------------------------------------------------------------- server certificate


def test_clients_that_trust_the_authority_are_served(
    start: Start, wrapper: Write, authority: Authority, server: Identity
) -> None:
    """The blocking client, the asyncio client and both commands, by address and by name."""
    running = start(config(wrapper("echo"), server))
    assert echo(running, authority.credentials()) == "hello"
    assert echo(running, authority.credentials(), "localhost") == "hello"

    async def call() -> str:
        async with AsyncClient(running.ready["grpc"], credentials=authority.credentials()) as client:
            return str((await client.exec("echo", {"text": "async"}, timeout_s=LIMIT_S))[0]["text"])

    assert asyncio.run(call()) == "async"
    to = ("--address", running.ready["grpc"], "--ca", str(authority.certificate))
    called = run("call", "echo", "--item", "text=hi", *to)
    assert (called.returncode, called.stderr, json.loads(called.stdout)) == (0, "", {"text": "hi"})
    described = run("describe", "--json", *to)
    assert (described.returncode, json.loads(described.stdout)["name"]) == (0, "echo")


def test_a_client_that_trusts_another_authority_turns_away(
    start: Start, wrapper: Write, authority: Authority, stranger: Authority, server: Identity
) -> None:
    """The server cannot prove who it is; the loader logs that the handshake failed and serves the next."""
    running = start(config(wrapper("echo"), server))
    with pytest.raises(ConnectionFailedError):
        echo(running, stranger.credentials())
    until(lambda: refused_peers(running), "the failed handshake in the log")
    assert echo(running, authority.credentials()) == "hello"


def test_a_certificate_for_another_name_is_refused(
    start: Start, wrapper: Write, authority: Authority
) -> None:
    """A certificate of the right authority proves only the names in it."""
    running = start(config(wrapper("echo"), authority.issue("other", "DNS:other.test")))
    with pytest.raises(ConnectionFailedError):
        echo(running, authority.credentials())


# ---------------------------------------------------------------- mutual TLS


def test_mutual_tls_wants_a_certificate_of_the_authority(
    start: Start,
    wrapper: Write,
    authority: Authority,
    stranger: Authority,
    server: Identity,
    friend: Identity,
) -> None:
    """None, and one of another authority, are refused; a friend is served, and nobody pays for the others."""
    running = start(config(wrapper("echo"), server, authority.certificate))
    with pytest.raises(ConnectionFailedError):
        echo(running, authority.credentials())
    with pytest.raises(ConnectionFailedError):
        echo(running, authority.credentials(stranger.issue("friend", "URI:spiffe://test/friend")))
    assert echo(running, authority.credentials(friend)) == "hello"
    # A client may come twice before it gives up: how many refusals there are is not said.
    for reason in ("peer did not return a certificate", "certificate verify failed"):
        until(lambda reason=reason: reason in " ".join(refused_peers(running)), f"`{reason}` in the log")


def test_the_commands_show_a_certificate(
    start: Start, wrapper: Write, authority: Authority, server: Identity, friend: Identity
) -> None:
    """--certificate and --key; without them the call fails and says so."""
    running = start(config(wrapper("echo"), server, authority.certificate))
    to = ("--address", running.ready["grpc"], "--ca", str(authority.certificate))
    own = ("--certificate", str(friend.certificate), "--key", str(friend.key))
    called = run("call", "echo", "--item", "text=hi", *to, *own)
    assert (called.returncode, json.loads(called.stdout)) == (0, {"text": "hi"})
    assert run("describe", "echo", "--json", *to, *own).returncode == 0
    stranger = run("call", "echo", "--item", "text=hi", "--timeout", "30", *to)
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "CONNECTION_FAILED" in stranger.stderr


def test_half_an_identity_is_a_wrong_command_line(server: Identity, tmp_path: Path) -> None:
    """A certificate without its key, and a file that is not there, are told before anything is sent."""
    half = run("call", "echo", "--certificate", str(server.certificate))
    assert half.returncode == 2
    assert "--key" in half.stderr
    missing = run("call", "echo", "--ca", str(tmp_path / "nowhere.pem"))
    assert missing.returncode == 2
    assert "nowhere.pem" in re.sub(r"[│\s]", "", missing.stderr), "which the frame around it may break"


# ---------------------------------------------------------------- other protocols on the port


def handshake(running: Running, authority: Authority, **wanted: object) -> ssl.SSLSocket:
    """A finished handshake of Python's own TLS. Raises: OSError."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    for name, value in wanted.items():
        if name == "alpn":
            context.set_alpn_protocols(value)  # type: ignore[arg-type]
        else:
            setattr(context, name, value)
    host, _, port = running.ready["grpc"].rpartition(":")
    plain = socket.create_connection((host, int(port)), LIMIT_S)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def end_of(connection: socket.socket) -> bytes:
    """Everything until the server's end of the connection, which must come."""
    got = b""
    connection.settimeout(LIMIT_S)
    try:
        while piece := connection.recv(4096):
            got += piece
    except ConnectionResetError:
        pass
    return got


def test_h2_is_agreed_by_alpn_and_nothing_else_is_spoken(
    start: Start, wrapper: Write, authority: Authority, server: Identity
) -> None:
    """h2 is chosen among others; a client that offers only another protocol, or none, is turned away."""
    running = start(config(wrapper("echo"), server))
    with handshake(running, authority, alpn=["http/1.1", "h2"]) as agreed:
        assert agreed.selected_alpn_protocol() == "h2"
        assert agreed.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        handshake(running, authority, alpn=["http/1.1"])
    with handshake(running, authority) as silent:
        assert end_of(silent) == b""
    until(lambda: any("ALPN" in line for line in refused_peers(running)), "the reason in the log")


def test_tls_1_2_is_the_oldest_spoken(
    start: Start, wrapper: Write, authority: Authority, server: Identity
) -> None:
    """1.2 is agreed to, 1.1 is not."""
    running = start(config(wrapper("echo"), server))
    with handshake(running, authority, alpn=["h2"], maximum_version=ssl.TLSVersion.TLSv1_2) as old:
        assert old.version() == "TLSv1.2"
    host, _, port = running.ready["grpc"].rpartition(":")
    older = subprocess.run(
        [*f"openssl s_client -connect {host}:{port} -tls1_1 -alpn h2 -cipher DEFAULT:@SECLEVEL=0".split()],
        input="", capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert older.returncode != 0
    assert "protocol version" in older.stderr


@pytest.mark.parametrize("first", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(64)])
def test_plain_text_on_the_tls_port_is_closed(
    start: Start, wrapper: Write, authority: Authority, server: Identity, first: bytes
) -> None:
    """The connection ends at once, nothing is answered in plain text, and the log names the mistake."""
    running = start(config(wrapper("echo"), server))
    host, _, port = running.ready["grpc"].rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT_S) as plain:
        plain.sendall(first)
        answer = end_of(plain)
    assert answer[:1] in (b"", b"\x15")  # nothing, or a TLS alert
    until(
        lambda: any("does not speak TLS" in line for line in refused_peers(running)), "the reason in the log"
    )
    with pytest.raises(ConnectionFailedError):
        echo(running, None)
    assert echo(running, authority.credentials()) == "hello"


def test_tls_on_a_plain_port_fails_clearly(start: Start, wrapper: Write, authority: Authority) -> None:
    """The other way round."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    with pytest.raises(ConnectionFailedError, match=r"(?i)ssl|tls|handshake"):
        echo(running, authority.credentials())


# ---------------------------------------------------------------- files at the start


@dataclass(frozen=True)
class Mistake:
    """One wrong file: which part of `tls` it is, how it is made, and what the refusal says."""

    part: str
    says: str
    write: Callable[[Path, Authority, Identity], object]

    def tls(self, bad: Path, authority: Authority, server: Identity) -> dict[str, str]:
        self.write(bad, authority, server)
        return {"certificate": str(server.certificate), "key": str(server.key), self.part: str(bad)}


def with_passphrase(bad: Path, authority: Authority, server: Identity) -> None:
    openssl(
        "pkey", "-in", str(server.key), "-aes128", "-passout", "pass:x", "-out", str(bad), folder=bad.parent
    )


UNREADABLE = "certificate 1 cannot be read: no start line"
MISTAKES = {
    "missing certificate": Mistake("certificate", "No such file or directory", lambda *_: None),
    "missing key": Mistake("key", "No such file or directory", lambda *_: None),
    "folder": Mistake("certificate", "Is a directory", lambda bad, *_: bad.mkdir()),
    "empty": Mistake("certificate", UNREADABLE, lambda bad, *_: bad.touch()),
    "no PEM": Mistake("certificate", UNREADABLE, lambda bad, *_: bad.write_bytes(bytes(range(256)))),
    "key for certificate": Mistake(
        "certificate", UNREADABLE, lambda bad, _, server: bad.write_bytes(server.key.read_bytes())
    ),
    "certificate for key": Mistake(
        "key",
        "no private key can be read from it",
        lambda bad, _, server: bad.write_bytes(server.certificate.read_bytes()),
    ),
    "chain cut short": Mistake(
        "certificate",
        "certificate 2 cannot be read",
        lambda bad, ca, server: bad.write_text(
            server.certificate.read_text() + ca.certificate.read_text()[:200]
        ),
    ),
    "passphrase": Mistake("key", "without a passphrase", with_passphrase),
    "another key": Mistake(
        "key",
        "does not belong to the certificate in",
        lambda bad, ca, _: bad.write_bytes(ca.issue("another").key.read_bytes()),
    ),
    "client authority": Mistake("client_ca", UNREADABLE, lambda bad, *_: bad.write_text("nothing")),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_bad_files_are_refused_at_the_start(
    mistake: Mistake, wrapper: Write, tmp_path: Path, authority: Authority, server: Identity
) -> None:
    """Exit code 3 with the file, what is wrong and what to give; no key is shown, nobody is asked."""
    bad = tmp_path / "bad.pem"
    tls = mistake.tls(bad, authority, server)
    file = tmp_path / "service.yaml"
    file.write_text(json.dumps({"tls": tls, "engines": {"echo": {"wrapper": str(wrapper("echo"))}}}))
    ended = run("--config", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    assert (ended.returncode, ended.stdout) == (3, "")
    [line] = [row for row in ended.stderr.splitlines() if row.startswith("tls: ")]
    assert line.startswith(f"tls: {bad}: ")
    assert mistake.says in line
    assert ": give " in line
    assert "Traceback" not in ended.stderr
    secret = server.key.read_text().splitlines()[1]
    assert secret not in ended.stderr


def test_a_taken_address_is_not_blamed_on_the_certificates(
    wrapper: Write, tmp_path: Path, server: Identity
) -> None:
    """With good files exit code 4 names the address."""
    file = tmp_path / "service.yaml"
    file.write_text(config(wrapper("echo"), server))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run("--config", str(file), "--grpc", address, "--http", "127.0.0.1:0")
    assert ended.returncode == 4
    assert f"cannot listen on {address}" in ended.stderr
    assert "tls" not in ended.stderr


# ---------------------------------------------------------------- files that are replaced


def install(identity: Identity, place: Identity) -> None:
    """As certificate tools do it: beside the old file, then in its place."""
    for new, old in ((identity.key, place.key), (identity.certificate, place.certificate)):
        beside = old.with_suffix(".new")
        beside.write_bytes(new.read_bytes())
        beside.replace(old)


def test_replaced_files_are_taken_and_open_connections_stay(
    start: Start, wrapper: Write, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """No restart, no lost session; a new connection sees the new certificate within seconds."""
    place = Identity(tmp_path / "tls.pem", tmp_path / "tls.key")
    install(authority.issue("first"), place)
    running = start(config(wrapper("echo"), place))
    with (
        Client(running.ready["grpc"], credentials=authority.credentials()) as old,
        old.session("echo") as session,
    ):
        session.write({"text": "before"})
        results = session.results()
        assert next(results)["text"] == "before"
        install(stranger.issue("second"), place)
        until(lambda: running.log_lines("certificates replaced"), "the new files were taken")
        assert echo(running, stranger.credentials()) == "hello"
        with pytest.raises(ConnectionFailedError):
            echo(running, authority.credentials())
        session.write({"text": "after"})
        assert next(results)["text"] == "after"
        session.end()
        assert list(results) == []
    assert running.hosts()


def test_broken_files_change_nothing_until_they_are_good(
    start: Start, wrapper: Write, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    """The old ones serve on, an error says which file is wrong, and the next good ones are taken."""
    place = Identity(tmp_path / "tls.pem", tmp_path / "tls.key")
    install(authority.issue("first"), place)
    running = start(config(wrapper("echo"), place))
    (tmp_path / "half").write_text("half a cert")
    (tmp_path / "half").replace(place.certificate)  # whole: an empty file in between would be refused, too
    event = "certificates refused: the old ones stay"
    [refusal] = until(lambda: running.log_lines(event), "the refusal")
    assert refusal["level"] == "error"
    assert str(place.certificate) in refusal["error"]
    assert echo(running, authority.credentials()) == "hello"
    place.certificate.unlink()
    until(lambda: len(running.log_lines(event)) == 2, "the missing file was noticed")
    assert echo(running, authority.credentials()) == "hello"
    install(stranger.issue("second"), place)
    until(lambda: running.log_lines("certificates replaced"), "the good ones were taken")
    assert echo(running, stranger.credentials()) == "hello"


def test_a_replaced_client_authority_decides_about_new_clients(
    start: Start, wrapper: Write, tmp_path: Path, authority: Authority, stranger: Authority, server: Identity
) -> None:
    """Mounted as Kubernetes does it, behind a link to a folder that is swapped whole."""
    for name, trusted in (("one", authority), ("two", stranger)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ca.pem").write_bytes(trusted.certificate.read_bytes())
    (tmp_path / "mount").mkdir()
    link, place = tmp_path / "mount" / "..data", tmp_path / "mount" / "ca.pem"
    link.symlink_to(tmp_path / "one")
    place.symlink_to("..data/ca.pem")
    running = start(config(wrapper("echo"), server, place))
    ours = authority.credentials(authority.issue("ours", "DNS:ours.test"))
    theirs = authority.credentials(stranger.issue("theirs", "DNS:theirs.test"))
    assert echo(running, ours) == "hello"
    (tmp_path / "mount" / "..new").symlink_to(tmp_path / "two")
    (tmp_path / "mount" / "..new").replace(link)
    until(lambda: running.log_lines("certificates replaced"), "the new authority was taken")
    assert echo(running, theirs) == "hello"
    with pytest.raises(ConnectionFailedError):
        echo(running, ours)

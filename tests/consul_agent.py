"""A real Consul for tests: started on free loopback ports, killed, paused and restarted as a test asks, ended with it.

Fixtures: `shared_consul`, one agent for all tests that leave it alone, each under a prefix of its own; `start_consul`,
which starts one for the test. Needs the binary that `make setup` unpacks, or the one that $CONSUL names.
Knows Consul's own configuration; refuses to know what the loader keeps there.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from freezing import freeze

CHECKOUT = Path(__file__).resolve().parent.parent
START_S = 60.0
END_S = 20.0
CALL_S = 10.0
PORTS = range(20_000, 32_000)  # below those that the kernel gives to others while an agent is down
MASTER_TOKEN = "5d9c1a52-3a6b-4f6e-9d53-6d1f0a5b7c11"  # of an agent that lives as long as its test


def consul_binary() -> Path | None:
    """What runs; None where there is none."""
    named = os.environ.get("CONSUL") or shutil.which("consul")
    path = Path(named) if named else CHECKOUT / "build" / "consul" / "consul"
    return path if os.access(path, os.X_OK) else None


@dataclass(frozen=True)
class Certificates:
    """Files made by openssl for an agent on 127.0.0.1 and for a client."""

    ca: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def make_certificates(folder: Path) -> Certificates:
    """A CA and what it signed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(
        *(folder / f"{name}.pem" for name in ("ca", "agent", "agent-key", "client", "client-key"))
    )
    ca_key = folder / "ca-key.pem"
    _openssl(
        "req", "-x509", *_new_key(ca_key), "-days", "2", "-subj", "/CN=a CA of the tests", "-out", made.ca
    )
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for certificate, key in ((made.certificate, made.key), (made.client_certificate, made.client_key)):
        request = folder / "request.pem"
        _openssl("req", *_new_key(key), "-subj", f"/CN={certificate.stem}", "-out", request)
        _openssl(
            "x509", "-req", "-in", request, "-CA", made.ca, "-CAkey", ca_key, "-CAcreateserial",
            "-days", "2", "-extfile", names, "-out", certificate,
        )  # fmt: skip
    return made


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@dataclass
class ConsulAgent:
    """One Consul server of its own. Its address stays the same over restarts, its data unless it is told otherwise."""

    folder: Path
    has_acl: bool = False  # every call needs a token; `token` may everything
    certificates: Certificates | None = None  # HTTPS only
    asks_client_certificate: bool = False
    extra: dict[str, Any] = field(default_factory=dict)  # more of Consul's configuration
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """What is allowed everything; empty without ACL."""
        return MASTER_TOKEN if self.has_acl else ""

    def url(self, prefix: str) -> str:
        """A center's or a registry's URL."""
        return f"consul{'+https' if self.certificates else ''}://{self.address}/{prefix}"

    # ---- life

    def start(self) -> ConsulAgent:
        """Starts it and waits until it takes writes."""
        for attempt in range(5):
            if not self.port or not (self.folder / "data").exists():
                self._configure()
            self._spawn()
            if self._is_up():
                return self
            self._end()
            if attempt < 4:
                shutil.rmtree(self.folder / "data", ignore_errors=True)
                self.port = 0
        raise AssertionError(f"consul does not start:\n{self.log_text()}")

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._end()

    def restart(self, *, is_empty: bool = False) -> None:
        """Starts it again at the same address; with its data, or with none, as after a lost disk."""
        self._end()
        if is_empty:
            shutil.rmtree(self.folder / "data")
        self._spawn()
        assert self._is_up(), f"consul does not restart:\n{self.log_text()}"

    def pause(self) -> None:
        """It takes connections from now on and answers nothing."""
        assert self.process is not None
        freeze(self.process.pid)

    def resume(self) -> None:
        """It answers again, what came meanwhile too."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._end()

    def log_text(self) -> str:
        return (self.folder / "consul.log").read_text(errors="replace")

    # ---- what is in it, past the code under test

    def call(self, method: str, path: str, body: bytes | None = None, *, token: str | None = None) -> Any:
        """The answer to an HTTP call as JSON; None for what is not there."""
        scheme = "https" if self.certificates else "http"
        request = urllib.request.Request(f"{scheme}://{self.address}/v1{path}", data=body, method=method)  # noqa: S310
        request.add_header("X-Consul-Token", self.token if token is None else token)
        try:
            with urllib.request.urlopen(request, timeout=CALL_S, context=self._context()) as answer:  # noqa: S310
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(text) if text.strip() else None

    def put(self, key: str, value: str | bytes) -> None:
        body = value.encode() if isinstance(value, str) else value
        assert self.call("PUT", f"/kv/{key}", body) is True

    def get(self, key: str) -> str | None:
        rows = self.call("GET", f"/kv/{key}")
        return base64.b64decode(rows[0]["Value"] or "").decode() if rows else None

    def keys(self, prefix: str) -> list[str]:
        return list(self.call("GET", f"/kv/{prefix}?keys") or [])

    def delete(self, key: str, *, is_folder: bool = False) -> None:
        self.call("DELETE", f"/kv/{key}{'?recurse' if is_folder else ''}")

    def token_for(self, rules: str) -> str:
        """A token that may what the rules say, no more."""
        policy = {"Name": f"policy-{random.getrandbits(40):x}", "Rules": rules}
        made = self.call("PUT", "/acl/policy", json.dumps(policy).encode())
        asked = {"Policies": [{"ID": made["ID"]}]}
        return str(self.call("PUT", "/acl/token", json.dumps(asked).encode())["SecretID"])

    # ---- inside

    def _configure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, serf, server = free_ports(3)
        tls = self.certificates
        values: dict[str, Any] = {
            "server": True,
            "bootstrap_expect": 1,
            "node_name": "consul-of-a-test",
            "data_dir": str(self.folder / "data"),
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "ports": {
                "http": -1 if tls else self.port,
                "https": self.port if tls else -1,
                "dns": -1,
                "grpc": -1,
                "serf_lan": serf,
                "serf_wan": -1,
                "server": server,
            },
            "performance": {"raft_multiplier": 1},
            "disable_update_check": True,
            "log_level": "warn",
            **self.extra,
        }
        if self.has_acl:
            values["acl"] = {
                "enabled": True,
                "default_policy": "deny",
                "tokens": {"master": MASTER_TOKEN, "agent": MASTER_TOKEN},
            }
        if tls:
            values |= {"ca_file": str(tls.ca), "cert_file": str(tls.certificate), "key_file": str(tls.key)}
            values["verify_incoming_https"] = self.asks_client_certificate
        (self.folder / "consul.json").write_text(json.dumps(values))

    def _spawn(self) -> None:
        binary = consul_binary()
        assert binary is not None
        with (self.folder / "consul.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(binary), "agent", "-config-file", str(self.folder / "consul.json")],
                stdout=log,
                stderr=log,
                start_new_session=True,  # ^C is for the tests; they end it
            )

    def _is_up(self) -> bool:
        """Whether it has a leader and takes a write; False when it ended."""
        assert self.process is not None
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, AssertionError):
                if self.call("PUT", "/kv/is-up", b"yes") is True and self._is_registered():
                    return True
            time.sleep(0.02)
        return False

    def _is_registered(self) -> bool:
        """The agent's own check has passed: services on it count as healthy from then on."""
        rows = self.call("GET", "/health/state/passing") or []
        return any(row["CheckID"] == "serfHealth" for row in rows)

    def _end(self) -> None:
        if self.process is not None:
            self.process.kill()  # ends a paused one, too
            self.process.wait(END_S)
            self.process = None

    def _context(self) -> ssl.SSLContext | None:
        if self.certificates is None:
            return None
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        context.load_cert_chain(self.certificates.client_certificate, self.certificates.client_key)
        return context


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise AssertionError(f"there are no {count} free ports")


def require_consul() -> None:
    """Skips where there is no binary; continuous integration fails instead."""
    if consul_binary() is None:
        missing = "there is no Consul: run `make setup`, or set CONSUL to the binary"
        pytest.fail(missing) if os.environ.get("LOADER_CI") else pytest.skip(missing)


@pytest.fixture
def start_consul(tmp_path: Path) -> Iterator[Callable[..., ConsulAgent]]:
    """Starts an agent of the test's own; takes ConsulAgent's fields."""
    require_consul()
    with contextlib.ExitStack() as stack:

        def start(**options: Any) -> ConsulAgent:
            agent = ConsulAgent(tmp_path / f"consul-{random.getrandbits(32):08x}", **options)
            stack.callback(agent.close)
            return agent.start()

        yield start


@pytest.fixture(scope="session")
def shared_consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    """One agent for every test that neither ends nor empties it: use `prefix`, or names of your own."""
    require_consul()
    agent = ConsulAgent(tmp_path_factory.mktemp("shared-consul"))
    try:
        yield agent.start()
    finally:
        agent.close()


@pytest.fixture
def prefix() -> str:
    """A name that no other test has."""
    return f"test-{random.getrandbits(48):012x}"


@pytest.fixture(scope="session")
def consul_certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For an agent with TLS, and for its clients."""
    return make_certificates(tmp_path_factory.mktemp("consul-certificates"))

"""The other side of AIGES's finder, for tests: the companion that loaders ask, and the console that pushes files.

Written from the facts of the layout, past the code under test: what it does to ZooKeeper is done by kazoo alone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from consul_agent import free_ports
from running import until
from zookeeper_server import ZooKeeper

START_S = 30
CALL_S = 30
RETRY = {"max_tries": -1, "max_delay": 0.5}
CONFIG_ROOT, SERVICE_ROOT = "/polaris/config", "/polaris/service"


class Companion:
    """An HTTP server that answers as one, and remembers what it is told. Its port stays the same."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.queries: list[dict[str, str]] = []
        self.feedback: list[dict[str, str]] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        companion = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                companion.queries.append(dict(parse_qsl(urlsplit(self.path).query)))
                self._answer(urlsplit(self.path).path == "/finder/query_zk_info", companion.answer)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                companion.feedback.append(dict(parse_qsl(body, keep_blank_values=True)))
                self._answer(self.path == "/finder/push_config_feedback", {"ret": 0, "msg": "success"})

            def _answer(self, is_known: bool, values: dict[str, Any]) -> None:
                body = json.dumps(values).encode()
                self.send_response(200 if is_known else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self._port = (
            self._port or free_ports(1)[0]
        )  # none that the kernel gives to others while it is stopped
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Connections are refused from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@dataclass
class Console:
    """What an operator does to one service."""

    zookeeper: ZooKeeper
    service: str
    version: str = "3.2"
    companion: Companion = field(init=False)
    client: Any = None

    def __post_init__(self) -> None:
        data = {
            "config_path": self.config_path,
            "service_path": SERVICE_ROOT,
            "zk_addr": [self.zookeeper.address],
            "zk_node_path": "/polaris/zkNode",
        }
        self.companion = Companion({"ret": 0, "msg": "success", "data": data})

    @property
    def config_path(self) -> str:
        return f"{CONFIG_ROOT}/{self.service}"

    @property
    def url(self) -> str:
        return f"finder:{self.companion.url}/AIpaas/hu/{self.service}/{self.version}"

    def push(self, text: str, push_id: str = "1", *, file: str = "aiges.toml", group: str = "") -> None:
        """A file as the console writes it, for everybody or for a gray group."""
        folder = f"{self.config_path}/gray/{group}" if group else self.config_path
        self.put(f"{folder}/{file}", framed(push_id, text.encode()))

    def set_gray(self, groups: dict[str, str]) -> None:
        """Group → its consumers, separated by commas."""
        values = [{"group_id": name, "server_list": [servers]} for name, servers in groups.items()]
        self.put(f"{self.config_path}/gray", framed("g", json.dumps(values).encode()))

    def put(self, path: str, data: bytes | None) -> None:
        """None: no data at all, as a node has that was created by hand."""
        if self.ask("exists", path):
            self.ask("set", path, data)
        else:
            self.ask("create", path, data, makepath=True)

    def remove(self, path: str) -> None:
        self.ask("delete", path)

    def data(self, path: str) -> bytes:
        return bytes(self.ask("get", path)[0])

    def owner(self, path: str) -> int:
        """The session of an ephemeral node; 0 where there is none."""
        found = self.ask("exists", path)
        return int(found.ephemeralOwner) if found else 0

    def names(self, path: str) -> list[str]:
        from kazoo.exceptions import NoNodeError

        try:
            return sorted(self.ask("get_children", path))
        except NoNodeError:
            return []

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """A call of kazoo, bounded in time; again while its connection is not there yet, after a restart."""
        from kazoo.exceptions import ConnectionLoss, SessionExpiredError

        end_s = time.monotonic() + CALL_S
        while True:
            try:
                return getattr(self.client, f"{method}_async")(*arguments, **options).get(timeout=CALL_S)
            except (ConnectionLoss, SessionExpiredError):
                if time.monotonic() > end_s:
                    raise
                time.sleep(0.05)

    def connect(self) -> None:
        """With a new session: a ZooKeeper that was emptied takes none that knew it before."""
        from kazoo.client import KazooClient  # not where this file is read: it is optional

        self.close()
        self.client = KazooClient(self.zookeeper.address, timeout=10, connection_retry=RETRY)
        self.client.start(START_S)

    def close(self) -> None:
        if self.client is not None:
            self.client.stop()
            self.client.close()

    def consumers(self, group: str = "") -> list[str]:
        return self.names(f"{self.config_path}/consumer/{f'gray/{group}' if group else 'normal'}")

    @property
    def provider_path(self) -> str:
        return f"{SERVICE_ROOT}/{self.service}/1.0.0/provider"

    def providers(self) -> list[str]:
        """The addresses that a client of AIGES finds."""
        return self.names(self.provider_path)

    def feedback_of(self, push_id: str, limit_s: float = 20) -> dict[str, str]:
        """What was said last of a push; waits for it."""

        def found() -> dict[str, str]:
            said = [one for one in self.companion.feedback if one["push_id"] == push_id]
            return said[-1] if said else {}

        return dict(until(found, f"feedback of {push_id}", limit_s))


def framed(push_id: str, data: bytes) -> bytes:
    return len(push_id).to_bytes(4, "big") + push_id.encode() + data


def unframed(data: bytes) -> tuple[str, bytes]:
    size = int.from_bytes(data[:4], "big")
    return data[4 : 4 + size].decode(), data[4 + size :]


@contextmanager
def console_of(zookeeper: ZooKeeper, service: str) -> Iterator[Console]:
    """A console and its companion, both ended."""
    console = Console(zookeeper, service)
    console.connect()
    console.companion.start()
    try:
        yield console
    finally:
        console.companion.stop()
        console.close()

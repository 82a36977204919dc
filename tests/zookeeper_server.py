"""A real ZooKeeper for tests: one server on a free loopback port, killed, paused and restarted as a test asks.

Fixtures: `shared_zookeeper`, one server for all tests that leave it alone, each under names of its own;
`start_zookeeper`, which starts one for the test. Needs kazoo, Java, and the jars that `make setup` unpacks. Knows
ZooKeeper's own configuration; refuses to know what the loader keeps there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from consul_agent import free_ports
from freezing import freeze

JARS = Path(__file__).resolve().parent.parent / "build" / "zookeeper"
START_S = 60.0
END_S = 20.0
CALL_S = 5.0
SESSION_MS = 4000  # the most that a client gets


def is_there() -> bool:
    """Whether one can be started here."""
    has_client = importlib.util.find_spec("kazoo") is not None
    return has_client and shutil.which("java") is not None and (JARS / "zookeeper.jar").exists()


@dataclass
class ZooKeeper:
    """One standalone server. Its address stays the same over restarts, its data unless it is told otherwise."""

    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> ZooKeeper:
        """Starts it and waits until it serves."""
        for _ in range(5):
            self.port = self.port or free_ports(1)[0]
            self._spawn()
            if self._is_up():
                return self
            self.kill()
            self.port = 0
        raise AssertionError(f"ZooKeeper does not start:\n{self.log_text()}")

    def kill(self) -> None:
        """Ends it at once, as a crash would; a paused one, too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(END_S)
            self.process = None

    def restart(self, *, is_empty: bool = False) -> None:
        """Starts it again at the same address: with its data and sessions, or with none, as after a lost disk."""
        self.kill()
        if is_empty:
            shutil.rmtree(self.folder / "data")
        self._spawn()
        assert self._is_up(), f"ZooKeeper does not restart:\n{self.log_text()}"

    def pause(self) -> None:
        """It takes connections from now on and answers nothing."""
        assert self.process is not None
        freeze(self.process.pid)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def log_text(self) -> str:
        return (self.folder / "zookeeper.log").read_text(errors="replace")

    # ---- inside

    def _spawn(self) -> None:
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        settings = {
            "dataDir": self.folder / "data",
            "clientPort": self.port,
            "clientPortAddress": "127.0.0.1",
            "tickTime": 100,
            "minSessionTimeout": 200,
            "maxSessionTimeout": SESSION_MS,
            "maxClientCnxns": 0,
            "admin.enableServer": "false",
        }
        file = self.folder / "zoo.cfg"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        options = ["-Xmx96m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData",
                   "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{JARS}/*"]  # fmt: skip
        with (self.folder / "zookeeper.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["java", *options, "org.apache.zookeeper.server.ZooKeeperServerMain", str(file)],
                stdout=log,
                stderr=log,
                start_new_session=True,  # ^C is for the tests; they end it
            )

    def _is_up(self) -> bool:
        """Whether it serves; False when it ended."""
        assert self.process is not None
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if b"Mode: standalone" in self._asked(b"srvr"):
                    return True
            time.sleep(0.02)
        return False

    def _asked(self, word: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), CALL_S) as connection:
            connection.sendall(word)
            return connection.recv(4096)


def require_zookeeper() -> None:
    """Skips where there is none; continuous integration fails instead."""
    if not is_there():
        missing = "there is no ZooKeeper, no Java, or no kazoo: run `make setup`"
        pytest.fail(missing) if os.environ.get("LOADER_CI") else pytest.skip(missing)


@pytest.fixture
def start_zookeeper(tmp_path: Path) -> Iterator[Callable[[], ZooKeeper]]:
    """Starts a server of the test's own."""
    require_zookeeper()
    with contextlib.ExitStack() as stack:

        def start() -> ZooKeeper:
            server = ZooKeeper(tmp_path / f"zookeeper-{random.getrandbits(32):08x}")
            stack.callback(server.kill)
            return server.start()

        yield start


@pytest.fixture(scope="session")
def shared_zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeper]:
    """One server for every test that neither ends nor empties it: use names of your own."""
    require_zookeeper()
    server = ZooKeeper(tmp_path_factory.mktemp("shared-zookeeper"))
    try:
        yield server.start()
    finally:
        server.kill()

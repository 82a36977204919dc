"""`make demo-rollout`: a new version of speech recognition goes live under load, and broken ones do not.

Starts Consul and three loaders on free ports, keeps sessions of a client that finds them there, and has
`loader rollout` drive a canary of a good version, of one that breaks sessions, and of one whose init fails. A table
follows all nodes. Ends with 1 where a session of a good version failed or a broken one stayed.
"""

from __future__ import annotations

import json
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from rich.console import Console
from rich.live import Live
from rich.table import Table

from loader.client import Client
from loader.errors import LoaderError
from loader.v1 import admin_pb2, admin_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = Path(sys.executable).with_name("loader")
CONSUL = ROOT / "build/consul/consul"
RECORDING = Path("/usr/share/pocketsphinx/test/data/goforward.raw")
EXPECTED = "go forward ten meters"
CHUNK_BYTES = 16_000  # half a second
NODES = 3
CALLERS = 4
READY_S = 120.0
STOP_S = 60.0
INTERVAL_S = 4

CONFIG = """\
service: speech
drain_timeout_s: 20
engines:
  asr:
    slots: 4
    threads: 2
    call_timeout_ms: 10000
    versions:
      "1": {{wrapper: {asr}}}
"""
BREAKS_SESSIONS = """\
from loader import Session, Wrapper

class Asr(Wrapper):
    def create(self, params):
        return Broken()

class Broken(Session):
    def write(self, frame):
        raise RuntimeError("this version cannot recognise anything")
"""
INIT_FAILS = """\
from loader import Session, Wrapper

class Asr(Wrapper):
    def init(self, config):
        raise RuntimeError("the model of this version is missing")

    def create(self, params):
        return Session()
"""

console = Console()


@dataclass
class Traffic:
    """Sessions of a client that finds the loaders by the registry; what became of them."""

    client: Client
    audio: bytes
    ended: Counter[str] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.is_over.is_set():
            self.ended[self._session()] += 1

    def _session(self) -> str:
        """`right`, `wrong`, or the error of the session."""
        text = ""
        try:
            with self.client.session("asr", timeout_s=60) as session:
                for at in range(0, len(self.audio), CHUNK_BYTES):
                    session.write({"audio": self.audio[at : at + CHUNK_BYTES]})
                for result in session:
                    if "text" in result:
                        text = result["text"]
        except LoaderError as error:
            return type(error).__name__
        return "right" if text == EXPECTED else "wrong"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def ended_with(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """The process ends with the block: by SIGTERM, and by SIGKILL where it does not."""
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def start_consul(folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A development agent on free ports, and its address."""
    port = free_port()
    ports = ["-http-port", str(port), "-dns-port", "-1", "-grpc-port", "-1", "-server-port", str(free_port())]
    ports += ["-serf-lan-port", str(free_port()), "-serf-wan-port", "-1"]
    with (folder / "consul.log").open("w") as log:
        command = [str(CONSUL), "agent", "-dev", "-bind", "127.0.0.1", "-client", "127.0.0.1", *ports]
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True)
    return process, f"127.0.0.1:{port}"


def start_loader(folder: Path, number: int, center: str) -> subprocess.Popen[str]:
    file = folder / f"node{number}.yaml"
    file.write_text(
        f"center: {center}\nnode: node{number}\ngrpc: 127.0.0.1:0\nhttp: 127.0.0.1:0\ncache: cache{number}\n"
    )
    with (folder / f"node{number}.log").open("w") as log:
        return subprocess.Popen(
            [str(PROGRAM), "--config", str(file)], stdout=subprocess.PIPE, stderr=log, text=True
        )


def ready_line(process: subprocess.Popen[str]) -> dict[str, str]:
    """The addresses, once every engine is ready."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(READY_S):
            raise RuntimeError(f"a loader was not ready after {READY_S:.0f} s")
    return dict(json.loads(process.stdout.readline() or "{}"))


def wait_for_consul(center: str, config: Path) -> None:
    """Puts the first configuration, as soon as Consul has a leader."""
    end = time.monotonic() + 30
    command = [str(PROGRAM), "ctl", "put", str(config), "--center", center, "--yes", "--message", "version 1"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"Consul took no configuration: {done.stderr or done.stdout}")
        time.sleep(0.3)


def table(addresses: list[str], traffic: Traffic) -> Table:
    """Every version on every node."""
    out = Table(
        title="  ".join(f"{name}: {count}" for name, count in sorted(traffic.ended.items())) or "starting"
    )
    for name in ("node", "revision", "state", "version", "engine", "weight", "open", "ended"):
        out.add_column(name)
    for address in addresses:
        with grpc.insecure_channel(address) as channel:
            answer = admin_pb2_grpc.AdminServiceStub(channel).ListEngines(
                admin_pb2.ListEnginesRequest(), timeout=5
            )
        for engine in answer.engines:
            ended = " ".join(f"{reason} {count}" for reason, count in sorted(engine.closed.items()) if count)
            weight = str(engine.weight) if engine.is_routed else "-"
            out.add_row(
                answer.node, answer.revision, answer.revision_state, engine.description.version,
                engine.description.state, weight, str(engine.open_sessions), ended,
            )  # fmt: skip
    return out


def rollout(
    center: str, version: str, wrapper: Path, addresses: list[str], traffic: Traffic
) -> tuple[int, str]:
    """Runs `loader rollout` under the live table; its exit code and what it said last."""
    command = [str(PROGRAM), "rollout", "asr", "--to", version, "--wrapper", str(wrapper), "--center", center]
    command += ["--steps", "25,100", "--interval", f"{INTERVAL_S}s", "--abort-on", "error_rate>1%"]
    console.rule(f"rollout of version {version}: {wrapper.name}")
    console.print(" ".join(command[1:]), style="dim")
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, text=True)
        with Live(table(addresses, traffic), console=console, refresh_per_second=2) as live:
            while process.poll() is None:
                time.sleep(0.5)
                live.update(table(addresses, traffic))
        said.seek(0)
        text = said.read().strip()
    console.print(text, markup=False)
    return process.returncode, text


def versions_with_traffic(address: str) -> set[str]:
    with grpc.insecure_channel(address) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        engines = stub.ListEngines(admin_pb2.ListEnginesRequest(), timeout=5).engines
    return {one.description.version for one in engines if one.is_routed and one.weight > 0}


def demonstrate(folder: Path, stack: ExitStack) -> bool:
    consul, address = start_consul(folder)
    stack.enter_context(ended_with(consul))
    center = f"consul://{address}/speech"
    config = folder / "service.yaml"
    config.write_text(CONFIG.format(asr=ROOT / "wrappers/asr_pocketsphinx"))
    for name, source in (("breaks_sessions", BREAKS_SESSIONS), ("init_fails", INIT_FAILS)):
        (folder / f"{name}.py").write_text(source)
    wait_for_consul(center, config)
    loaders = [start_loader(folder, number + 1, center) for number in range(NODES)]
    for loader in loaders:
        stack.enter_context(ended_with(loader))
    addresses = [ready_line(loader)["grpc"] for loader in loaders]
    console.print(f"{NODES} loaders serve {center}: {', '.join(addresses)}")

    client = stack.enter_context(Client(center))
    traffic = Traffic(client, RECORDING.read_bytes())
    callers = [threading.Thread(target=traffic.run) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        good, _ = rollout(center, "2", ROOT / "wrappers/asr_pocketsphinx", addresses, traffic)
        failed_before = sum(traffic.ended.values()) - traffic.ended["right"]
        after_good = [versions_with_traffic(one) for one in addresses]
        broken, _ = rollout(center, "3", folder / "breaks_sessions.py", addresses, traffic)
        dead, _ = rollout(center, "4", folder / "init_fails.py", addresses, traffic)
        after_broken = [versions_with_traffic(one) for one in addresses]
    finally:
        traffic.is_over.set()
        for caller in callers:
            caller.join(STOP_S)
    console.rule("what became of the sessions")
    console.print(dict(traffic.ended))
    console.print(f"while version 2 went live {failed_before} sessions failed; versions then: {after_good}")
    console.print(f"versions after two broken ones: {after_broken}")
    is_good = good == 0 and failed_before == 0 and all(one == {"2"} for one in after_good)
    return is_good and broken != 0 and dead != 0 and all(one == {"2"} for one in after_broken)


def main() -> int:
    for needed, cure in (
        (RECORDING, "apt-get install pocketsphinx-testdata"),
        (CONSUL, "tools/consul.sh build/consul"),
    ):
        if not needed.is_file():
            print(f"{needed} is missing: run `{cure}`", file=sys.stderr)
            return 1
    folder = Path(tempfile.mkdtemp(prefix="demo-rollout-"))
    with ExitStack() as stack:
        is_good = demonstrate(folder, stack)
    if is_good:
        shutil.rmtree(folder)
        return 0
    print(f"this is not how it should end; the logs are in {folder}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

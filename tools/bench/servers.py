"""The servers under measurement, each started on a free port and stopped again.

Knows how to start them and where they listen; not what is asked of them.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
READY_TIMEOUT_S = 60.0
SLOTS = 4096
# What is a session in Triton: state and order by the sequence batcher (of its two strategies the one that costs
# it less), any number of results to a request by the decoupled policy.
TRITON_SESSION = (
    "max_batch_size: 64\nmodel_transaction_policy { decoupled: true }\n"
    "sequence_batching { max_sequence_idle_microseconds: 600000000 oldest { max_candidate_sequences: 256 } }\n"
)


class NotAvailableError(Exception):
    """This server cannot be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    name: str
    address: str
    pid: int
    ready_s: float
    http: str = ""


@contextmanager
def bare(programs: Path) -> Iterator[Server]:
    """The grpc++ completion-queue echo."""
    with _announced("bare", [str(programs / "bench-bare_echo")]) as server:
        yield server


@contextmanager
def aio() -> Iterator[Server]:
    """grpc.aio on uvloop with raw bytes."""
    try:
        import uvloop  # noqa: F401
    except ImportError as error:
        raise NotAvailableError("uvloop is not installed") from error
    with _announced("aio", [sys.executable, str(HERE / "aio_echo.py")]) as server:
        yield server


@contextmanager
def loader(folder: Path, engines: tuple[str, ...]) -> Iterator[Server]:
    """The loader with these of the engines native, inline and python, which are echoes, and emitter."""
    config = folder / f"loader-{'-'.join(engines)}.yaml"
    config.write_text(json.dumps(_configuration(engines)))
    command = [str(Path(sys.executable).with_name("loader")), "--config", str(config)]
    with _announced("loader", command) as server:
        yield server


def _configuration(engines: tuple[str, ...]) -> dict[str, object]:
    """JSON is YAML. One shard, as bare has one polling thread."""
    wrappers = ROOT / "wrappers"
    known = {
        "native": {"wrapper": str(wrappers / "echo_c"), "slots": SLOTS, "threads": 2},
        "inline": {"wrapper": str(wrappers / "echo_c"), "slots": SLOTS, "isolation": "inline"},
        "python": {"wrapper": str(wrappers / "echo_py"), "slots": SLOTS, "threads": 2},
        "emitter": {"wrapper": str(HERE / "emitter.py"), "slots": 4},
    }
    return {
        "service": "bench",
        "grpc": "127.0.0.1:0",
        "http": "127.0.0.1:0",
        "data_plane_threads": 1,
        "engines": {name: known[name] for name in engines},
    }


@contextmanager
def triton(folder: Path, environment: Path) -> Iterator[Server]:
    """Triton's python backend with an echo model, from the package nvidia-pytriton in its own environment."""
    package = next(environment.glob("lib/python3*/site-packages/pytriton/tritonserver"), None)
    if package is None:
        raise NotAvailableError(f"nvidia-pytriton is not installed in {environment}")
    repository = folder / "triton"
    _write_triton_model(repository)
    backends = _triton_backends(folder / "backends", package)
    port, metrics = _free_port(), _free_port()
    command = [
        str(package / "bin/tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--grpc-port={port}",
        "--allow-http=false",
        f"--metrics-port={metrics}",
        "--allow-metrics=false",
        "--log-info=false",
    ]
    libraries = ":".join(str(p) for p in package.parent.glob("tritonserver/**/lib*") if p.is_dir())
    site = str(package.parents[1])
    extra = {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": site, "VIRTUAL_ENV": str(environment)}
    extra["PATH"] = f"{environment / 'bin'}:{os.environ['PATH']}"
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=os.environ | extra, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait_for_port(process, port)
        yield Server("triton", f"127.0.0.1:{port}", process.pid, time.monotonic() - started)
    finally:
        _stop(process)


def _triton_backends(folder: Path, package: Path) -> Path:
    """A folder of backends whose python backend has the stub of this Python beside it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = package / "python_backend_stubs" / version / "triton_python_backend_stub"
    shutil.copytree(package / "backends/python", folder / "python", dirs_exist_ok=True)
    link = folder / "python" / stub.name
    if not link.exists():
        link.symlink_to(stub)  # it finds its libraries relative to where it really lies
    return folder


def _write_triton_model(repository: Path) -> None:
    """Two models that answer with their input: one for calls, one for sessions."""
    for name, kind in (("echo", "max_batch_size: 0\n"), ("session", TRITON_SESSION)):
        folder = repository / name / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text((HERE / "triton_echo.py").read_text())
        (repository / name / "config.pbtxt").write_text(
            f'backend: "python"\n{kind}'
            'input [{ name: "x" data_type: TYPE_UINT8 dims: [-1] }]\n'
            'output [{ name: "y" data_type: TYPE_UINT8 dims: [-1] }]\n'
            "instance_group [{ kind: KIND_CPU count: 1 }]\n"
        )


@contextmanager
def _announced(name: str, command: list[str]) -> Iterator[Server]:
    """A program that says where it listens in one JSON line, when it is ready."""
    if not Path(command[0]).is_file():
        raise NotAvailableError(f"{command[0]} does not exist: build it")
    started = time.monotonic()
    log = (Path(os.environ.get("BENCH_LOGS", "/tmp")) / f"bench-{name}.log").open("w")  # noqa: S108
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = _first_line(process)
        said = json.loads(line)
        yield Server(name, said["grpc"], process.pid, time.monotonic() - started, said.get("http", ""))
    finally:
        _stop(process)
        log.close()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(READY_TIMEOUT_S):
            raise NotAvailableError(f"{command_name(process)} said nothing for {READY_TIMEOUT_S:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise NotAvailableError(f"{command_name(process)} ended with code {process.wait()}")
    return line


def command_name(process: subprocess.Popen[str]) -> str:
    """The program, for texts."""
    return str(process.args[0] if isinstance(process.args, list) else process.args)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(process: subprocess.Popen[str], port: int) -> None:
    until = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            text = process.stderr.read() if process.stderr else ""
            raise NotAvailableError(f"tritonserver ended with code {process.returncode}: {text[-300:]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.05)  # the port is all that tells when it is up
        else:
            return
    raise NotAvailableError("tritonserver did not listen")


def _stop(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()

"""One measurement of one server: load on it, its CPU, its latency, its memory. Knows no budget."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.bench.processes import cpu_s, memory_bytes, stolen_s, tree
from tools.bench.servers import Server
from tools.bench.traffic import Traffic

NOTICEABLE = 0.005  # of the machine's processor time


class FailedError(Exception):
    """The load met errors; the text is the first one."""


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU is that of all the server's processes, for each message; `stolen` the share of the machine's
    processor time that the hypervisor withheld meanwhile."""

    cpu_us: float
    rate: float
    p50_us: float
    p99_us: float
    memory_bytes: int
    stolen: float


@dataclass(frozen=True, slots=True)
class Load:
    """How the load generator is to be run."""

    program: Path
    mode: str
    lanes: int
    seconds: float
    warm_up_s: float = 0.7
    channels: int = 4

    def command(self, server: Server, traffic: Traffic) -> list[str]:
        """Its command line."""
        words = [str(self.program), "--address", server.address, "--path", traffic.path]
        words += ["--request", str(traffic.request), "--mode", self.mode, "--lanes", str(self.lanes)]
        words += ["--seconds", str(self.seconds), "--warm-up", str(self.warm_up_s)]
        words += ["--channels", str(self.channels)]
        return words + (["--opening", str(traffic.opening)] if traffic.opening else [])


def measure(server: Server, load: Load, traffic: Traffic) -> Sample:
    """Runs the load once. Raises: FailedError."""
    process = subprocess.Popen(load.command(server, traffic), stdout=subprocess.PIPE, text=True)
    with process:
        pids = tree(server.pid)  # reading all of /proc disturbs: not while it is measured
        _expect(process, "start")
        before, stolen_before = cpu_s(pids), stolen_s()
        _expect(process, "stop")
        spent, stolen = cpu_s(pids) - before, stolen_s() - stolen_before
        memory = memory_bytes(pids)
        answer = _answer(process)
    messages = answer["messages"]
    if not messages:
        raise FailedError("no message was answered")
    return Sample(
        cpu_us=spent * 1e6 / messages,
        rate=messages / answer["seconds"],
        p50_us=answer["p50_us"],
        p99_us=answer["p99_us"],
        memory_bytes=memory,
        stolen=stolen / answer["seconds"] / (os.cpu_count() or 1),
    )


def measure_undisturbed(server: Server, load: Load, traffic: Traffic, attempts: int = 5) -> Sample:
    """The least disturbed of some runs: the first during which the machine did not stand still for so long that
    p99 would be that pause. A virtual machine above its CPU quota stops for tens of milliseconds at a time.

    Raises: FailedError.
    """
    samples: list[Sample] = []
    while len(samples) < attempts:
        samples.append(measure(server, load, traffic))
        if samples[-1].stolen < NOTICEABLE:
            break
    return min(samples, key=lambda sample: sample.stolen)


@contextmanager
def held(server: Server, load: Load, traffic: Traffic) -> Iterator[None]:
    """Keeps idle or stalled streams open inside the `with`. Raises: FailedError."""
    process = subprocess.Popen(
        load.command(server, traffic), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        _expect(process, "ready")
        yield
        assert process.stdin is not None
        process.stdin.close()
        _answer(process)


def settled_memory(server: Server) -> int:
    """Memory once it has not changed for two seconds, within ten."""
    last, still = memory_bytes(tree(server.pid)), 0
    for _ in range(40):
        time.sleep(0.25)  # memory has no event to wait for
        now = memory_bytes(tree(server.pid))
        still = still + 1 if abs(now - last) < 64 << 10 else 0
        last = now
        if still == 8:
            break
    return last


def ceiling(server: Server, traffic: Traffic, folder: Path, seconds: int) -> float:
    """Calls a second of h2load, a light HTTP/2 client, 64 at a time. Raises: FailedError."""
    body = traffic.request.read_bytes()
    message = folder / f"{traffic.request.stem}-h2.bin"
    message.write_bytes(struct.pack(">BI", 0, len(body)) + body)
    command = ["h2load", "-c4", "-m16", "-t1", f"-D{seconds}", "--warm-up-time=1", f"-d{message}"]
    headers = ["-Hcontent-type: application/grpc", "-Hte: trailers"]
    text = subprocess.run(
        [*command, *headers, f"http://{server.address}{traffic.path}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    ).stdout
    found = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    errors = re.search(r"(\d+) failed, (\d+) errored", text)
    if found is None or errors is None or errors.group(1) != "0":
        raise FailedError(f"h2load: {text[-300:]}")
    return float(found.group(1))


def _expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if line != word:
        raise FailedError(f"the load generator said {line!r} in place of {word!r}")


def _answer(process: subprocess.Popen[str]) -> dict[str, float]:
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline() or "{}")
    if not answer or answer["failures"]:
        raise FailedError(str(answer.get("first_failure", "the load generator ended")))
    return dict(answer)

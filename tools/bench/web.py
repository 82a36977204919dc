"""The HTTP faces: how soon a WebSocket has a result that no frame asked for, and what a POST costs beside an Exec.

One client with one connection; knows the JSON of the faces. What it compares with is measured by the same client.
"""

from __future__ import annotations

import base64
import http.client
import json
import statistics
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from websockets.sync.client import ClientConnection, connect

from loader.client import Client
from tools.bench.emitter import INTERVAL_S
from tools.bench.processes import cpu_s, tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.bench.servers import Server

TIMEOUT_S = 10.0
DATA = bytes(1024)
BODY = json.dumps({"payload": {"data": {"other": base64.b64encode(DATA).decode(), "status": 3}}}).encode()


@dataclass(frozen=True, slots=True)
class Pushed:
    """Milliseconds."""

    p50: float
    p99: float
    trip: float  # median of a round trip of the same client that asks for nothing


def pushed(server: Server, engine: str, count: int) -> Pushed:
    """From the emission of a result to the client that only listens."""
    with connect(f"ws://{server.http}/v1/private/{engine}", proxy=None) as socket:
        socket.send("{}")
        socket.recv(TIMEOUT_S)
        delays = sorted(_delay_ms(socket) for _ in range(count))
    with connect(f"ws://{server.http}/ping", proxy=None) as socket:
        trips = [_trip_ms(socket) for _ in range(count)]
    return Pushed(statistics.median(delays), delays[int(0.99 * (count - 1))], statistics.median(trips))


def _delay_ms(socket: ClientConnection) -> float:
    answer = json.loads(socket.recv(TIMEOUT_S))
    now_ns = time.monotonic_ns()
    emitted_ns: int = struct.unpack("<q", base64.b64decode(answer["payload"]["time"]["other"]))[0]
    return (now_ns - emitted_ns) / 1e6


def _trip_ms(socket: ClientConnection) -> float:
    time.sleep(INTERVAL_S)  # a machine that has been at rest takes longer to answer
    began_ns = time.monotonic_ns()
    socket.send("ping")
    socket.recv(TIMEOUT_S)
    return (time.monotonic_ns() - began_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds a call, one at a time: CPU of all processes of the server, and the median of the time it took."""

    cpu: float
    p50: float


def post_cost(server: Server, engine: str, count: int) -> Cost:
    """Of a POST with 1 KiB."""
    host, _, port = server.http.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)

    def post() -> None:
        connection.request("POST", f"/v1/private/{engine}", BODY)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"a POST was answered {answer.status}: {content.decode()}")

    try:
        return _cost(server, post, count)
    finally:
        connection.close()


def exec_cost(server: Server, engine: str, count: int) -> Cost:
    """Of a loader.v1 Exec with the same."""
    with Client(server.address) as client:
        return _cost(server, lambda: client.exec(engine, {"data": DATA}, timeout_s=TIMEOUT_S), count)


def _cost(server: Server, call: Callable[[], object], count: int) -> Cost:
    for _ in range(20):
        call()
    processes = tree(server.pid)
    before_s, taken_us = cpu_s(processes), []
    for _ in range(count):
        began_ns = time.monotonic_ns()
        call()
        taken_us.append((time.monotonic_ns() - began_ns) / 1e3)
    return Cost((cpu_s(processes) - before_s) / count * 1e6, statistics.median(taken_us))

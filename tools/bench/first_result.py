"""How long after its emission a result that no frame asked for reaches a client of AIGES that polls.

Compares it with the round trip of a call that does nothing, by the same client, which has rested as long before.
"""

from __future__ import annotations

import statistics
import struct
import time
from typing import TYPE_CHECKING

import grpc

from tools.bench.emitter import INTERVAL_S
from tools.bench.traffic import XSF_CALL, fields_of, xsf_create, xsf_poll

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 5.0


def first_result(address: str, engine: str, count: int) -> tuple[float, float]:
    """Medians in microseconds: from emission to the poll's answer, and a round trip. Raises: grpc.RpcError."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(XSF_CALL)
        session = next(
            value for number, value in fields_of(call(xsf_create(engine), timeout=POLL_S)) if number == 3
        )
        polled = [_delay_us(call, session) for _ in range(count)]
        trips = [_trip_us(call) for _ in range(count)]
        call(xsf_poll(b"AIExcp", session, POLL_S), timeout=POLL_S)
    return statistics.median(polled), statistics.median(trips)


def _delay_us(call: Callable[..., bytes], session: bytes) -> float:
    answer = call(xsf_poll(b"AIOut", session, POLL_S), timeout=POLL_S)
    now_ns = time.monotonic_ns()
    # ResData 5, DataMeta 1, LoaderOutput 5, Payload 2
    data = answer
    for number in (5, 1, 5, 2):
        data = next(value for found, value in fields_of(data) if found == number)
    emitted_ns: int = struct.unpack("<q", data)[0]
    return (now_ns - emitted_ns) / 1e3


def _trip_us(call: Callable[..., bytes]) -> float:
    time.sleep(INTERVAL_S)  # a machine that has been at rest takes longer to answer
    began_ns = time.monotonic_ns()
    call(xsf_poll(b"ping", b"", POLL_S), timeout=POLL_S)
    return (time.monotonic_ns() - began_ns) / 1e3

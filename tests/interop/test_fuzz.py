"""Random frames and mutated exchanges against a real server: whatever comes, others are served and nothing is left."""

from __future__ import annotations

import gzip
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hpack import Encoder
from interop_harness import Server
from raw_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAGIC,
    PING,
    PRIORITY,
    RST,
    SETTINGS,
    WINDOW,
    RawClient,
    frame_bytes,
    framed,
    request,
)

Start = Callable[..., Server]
BUDGET_S = 2.5  # of each seed; a slow machine tries less, never longer
ROUNDS = 400
PATHS = (
    "/bench.Echo/Unary",
    "/bench.Echo/Stream",
    "/bench.Echo/Payload",
    "/bench.Hostile/Hoard",
    "/bench.Hostile/Hold",
    "/bench.Hostile/Throw",
    "/grpc.testing.TestService/FullDuplexCall",
    "/grpc.health.v1.Health/Watch",
    "/nope/Nope",
)


class Fuzzer:
    """Makes one connection's worth of bytes from a seeded source."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.encoder = Encoder()
        self.last_stream = 1

    def exchange(self) -> bytes:
        """Some calls as a well-behaved client makes them, then some bytes of it changed."""
        self.encoder, self.last_stream = Encoder(), 1
        frames = [frame_bytes(SETTINGS, 0, 0), *self.calls()]
        for _ in range(self.dice.randrange(4)):
            frames.insert(self.dice.randrange(len(frames) + 1), self.frame())
        wire = bytearray(MAGIC + b"".join(self.damaged(frame) for frame in frames))
        return bytes(wire[: self.dice.choice((len(wire), len(wire), self.dice.randrange(len(wire)) + 1))])

    def calls(self) -> list[bytes]:
        out = []
        for _ in range(self.dice.randrange(1, 6)):
            stream = self.last_stream
            self.last_stream += 2
            changes = {"grpc_encoding": self.dice.choice((None, "gzip")), "grpc_timeout": self.timeout()}
            block = self.encoder.encode(request(self.dice.choice(PATHS), **changes))
            out.append(frame_bytes(HEADERS, END_HEADERS, stream, block))
            out += [
                frame_bytes(DATA, self.dice.choice((0, 0, END_STREAM)), stream, self.message())
                for _ in range(self.dice.randrange(4))
            ]
            if self.dice.random() < 0.3:
                out.append(frame_bytes(RST, 0, stream, struct.pack(">I", 8)))
        return out

    def timeout(self) -> str | None:
        return self.dice.choice((None, None, "1m", "20m", "0n", "1S", "nonsense"))

    def message(self) -> bytes:
        body = bytes(self.dice.randrange(self.dice.choice((1, 64, 9000))) + 1)
        packed = self.dice.random() < 0.3
        wire = framed(gzip.compress(body) if packed else body, int(packed))
        return wire if self.dice.random() < 0.8 else wire[: self.dice.randrange(len(wire))]

    def frame(self) -> bytes:
        """A frame of any kind with any flags and bytes."""
        kinds = (DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION, 5, 10, 255)
        stream = self.dice.choice((0, self.last_stream, self.dice.randrange(12), 0x7FFFFFFF))
        payload = self.dice.randbytes(self.dice.choice((0, 1, 4, 5, 6, 8, 9, 40, 2000)))
        return frame_bytes(self.dice.choice(kinds), self.dice.randrange(256), stream, payload)

    def damaged(self, frame: bytes) -> bytes:
        """The frame, or one time in ten with one bit, byte or length wrong."""
        if self.dice.random() > 0.1:
            return frame
        out = bytearray(frame)
        match self.dice.randrange(4):
            case 0:
                out[self.dice.randrange(len(out))] ^= 1 << self.dice.randrange(8)
            case 1:
                out[self.dice.randrange(len(out))] = self.dice.randrange(256)
            case 2:
                del out[self.dice.randrange(len(out)) :]
            case _:
                out += out[self.dice.randrange(len(out)) :]
        return bytes(out)


def talk(port: int, wire: bytes, *, reads: bool, cuts: random.Random) -> None:
    """Sends the bytes in two pieces and leaves, with or without reading what came."""
    with RawClient(port, hello=False) as raw:
        at = cuts.randrange(len(wire) + 1)
        try:
            raw.send_bytes(wire[:at])
            raw.send_bytes(wire[at:])
            if reads:
                raw.socket.settimeout(0.01)
                while raw.socket.recv(65536):
                    pass
        except OSError:
            pass  # closed by the server, or nothing more to read


def descriptors(server: Server) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_harm_anybody_else(start_server: Start, seed: int) -> None:
    """A witness on its own connection is answered all the time; no call and no descriptor stays."""
    server = start_server("--set", "linger_ms=50")
    with RawClient(server.port) as witness:
        witness.headers(1, request("/bench.Echo/Stream"))
        witness.ping_pong()
        before, fuzzer, until = descriptors(server), Fuzzer(seed), time.monotonic() + BUDGET_S
        rounds = 0
        while rounds < ROUNDS and time.monotonic() < until:
            talk(server.port, fuzzer.exchange(), reads=rounds % 4 == 0, cuts=fuzzer.dice)
            rounds += 1
            if rounds % 20 == 0:
                witness.data(1, framed(b"alive"))
                assert witness.until(lambda f: f.type == DATA).payload == framed(b"alive")
        assert rounds > 10
        server.wait_stats(lambda s: s["open_connections"] == 1 and s["open_calls"] == 1)
        end = time.monotonic() + 30
        while descriptors(server) > before:
            assert time.monotonic() < end, f"{before} descriptors before, {descriptors(server)} after"
        witness.data(1, framed(b"last"), end=True)
        assert witness.reply(1).status == "0"

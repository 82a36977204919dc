"""A client with many sessions that writes whatever it is allowed to and never opens a window for results.

Raw HTTP/2 on a few connections in one thread: a thousand such sessions cost it almost nothing. Knows frames and
windows; not what the bytes mean.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from contextlib import suppress

from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_HEADERS = 1, 4
WINDOW = 65535
LARGEST_DATA = 16384
STREAMS_EACH = 250


def h2(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def message(body: bytes) -> bytes:
    """One gRPC message."""
    return struct.pack(">BI", 0, len(body)) + body


class StalledClient:
    """`count` calls of `path`: `first`, then `then` again and again as far as the windows go."""

    def __init__(self, address: tuple[str, int], path: str, count: int, *, first: bytes, then: bytes) -> None:
        self._selector = selectors.DefaultSelector()
        self._links = [
            _Link(address, path, min(STREAMS_EACH, count - at), message(first), message(then))
            for at in range(0, count, STREAMS_EACH)
        ]
        for link in self._links:
            self._selector.register(link.socket, selectors.EVENT_READ, link)

    def run_until_still(self, quiet_s: float, limit_s: float) -> None:
        """Until nothing has come and nothing could be sent for `quiet_s`."""
        give_up = time.monotonic() + limit_s
        while self.turn(quiet_s):
            assert time.monotonic() < give_up, "the sessions never stood still"

    def turn(self, wait_s: float) -> bool:
        """Sends and reads once; False: there was nothing to do for so long."""
        for link in self._links:
            if link.has_output:
                self._selector.modify(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, link)
        ready = self._selector.select(wait_s)
        for key, events in ready:
            if events & selectors.EVENT_WRITE:
                key.data.send()
                if not key.data.has_output:
                    self._selector.modify(key.data.socket, selectors.EVENT_READ, key.data)
            if events & selectors.EVENT_READ:
                key.data.receive()
        return bool(ready)

    @property
    def sent_bytes(self) -> list[int]:
        """Of each session."""
        return [sent for link in self._links for sent in link.sent.values()]

    def close(self) -> None:
        """Vanishes."""
        self._selector.close()
        for link in self._links:
            link.socket.close()


class _Link:
    """One connection."""

    def __init__(self, address: tuple[str, int], path: str, count: int, first: bytes, then: bytes) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setblocking(False)
        self._first, self._then = first, then
        # Any slice of the endless stream of messages is a slice of this.
        self._endless = then * (WINDOW // len(then) + 2)
        self._window = WINDOW  # of the connection
        self._windows = {1 + 2 * i: WINDOW for i in range(count)}
        self.sent = dict.fromkeys(self._windows, 0)
        self._in = bytearray()
        self._out = bytearray(
            PREFACE + h2(SETTINGS, 0, 0, b"") + h2(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30))
        )
        block = header_block(path)
        for stream in self._windows:
            self._out += h2(HEADERS, END_HEADERS, stream, block)
        self._waiting = list(self._windows)
        self._fill()

    @property
    def has_output(self) -> bool:
        return bool(self._out)

    def send(self) -> None:
        """What the socket takes."""
        with suppress(BlockingIOError):
            del self._out[: self.socket.send(self._out)]

    def receive(self) -> None:
        """What there is; results are dropped."""
        with suppress(BlockingIOError):
            came = self.socket.recv(1 << 20)
            assert came, "the server closed the connection"
            self._in += came
        at = 0
        while len(self._in) >= at + 9:
            size = int.from_bytes(self._in[at : at + 3], "big")
            if len(self._in) < at + 9 + size:
                break
            self._take(self._in[at + 3], self._in[at + 4], struct.unpack_from(">I", self._in, at + 5)[0],
                       bytes(self._in[at + 9 : at + 9 + size]))  # fmt: skip
            at += 9 + size
        del self._in[:at]
        self._fill()

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        assert kind not in (RST_STREAM, GOAWAY), f"frame {kind} on stream {stream}: {payload!r}"
        if kind == WINDOW_UPDATE:
            more = struct.unpack(">I", payload)[0]
            if stream == 0:
                self._window += more
            else:
                self._windows[stream] += more
                self._waiting.append(stream)
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self._out += h2(kind, ACK, 0, payload if kind == PING else b"")

    def _fill(self) -> None:
        """Frames of DATA for streams that may send, as far as the connection allows."""
        while self._waiting and self._window > 0:
            stream = self._waiting[-1]
            size = min(self._windows[stream], self._window, LARGEST_DATA)
            if size == 0:
                self._waiting.pop()
                continue
            self._out += h2(DATA, 0, stream, self._slice(self.sent[stream], size))
            self.sent[stream] += size
            self._windows[stream] -= size
            self._window -= size

    def _slice(self, at: int, size: int) -> bytes:
        if at < len(self._first):
            return (self._first[at:] + self._endless)[:size]
        start = (at - len(self._first)) % len(self._then)
        return self._endless[start : start + size]


def header_block(path: str) -> bytes:
    """The headers of a call."""
    fields = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"),
        ("te", "trailers"), ("content-type", "application/grpc"),
    ]  # fmt: skip
    return bytes(Encoder().encode(fields))

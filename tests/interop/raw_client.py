"""A client made of raw HTTP/2 frames: 9-byte heads and an HPACK codec. It can break every rule."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hpack import Decoder, Encoder

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20
MAGIC = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WAIT_S = 30.0
Header = tuple[str | bytes, str | bytes]

REQUEST: list[Header] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/bench.Echo/Unary"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


def request(path: str = "/bench.Echo/Unary", **changes: str | None) -> list[Header]:
    """The usual header list; keyword `a_b` sets header `a-b`, None removes it."""
    named = {k.replace("_", "-"): v for k, v in changes.items()}
    kept = [(k, v) for k, v in REQUEST if k not in named]
    kept = [(k, path) if k == ":path" else (k, v) for k, v in kept]
    return kept + [(k, v) for k, v in named.items() if v is not None]


def framed(body: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(body)) + body


@dataclass(frozen=True)
class Frame:
    type: int
    flags: int
    stream: int
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def error_code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        at = 4 if self.type == GOAWAY else 0
        code: int = struct.unpack_from(">I", self.payload, at)[0]
        return code


@dataclass
class Reply:
    """All that came for one stream, up to its end."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None
    is_ended: bool = False
    is_trailers_only: bool = False

    @property
    def status(self) -> str | None:
        return (self.headers if self.is_trailers_only else self.trailers).get("grpc-status")

    @property
    def message(self) -> str:
        return (self.headers if self.is_trailers_only else self.trailers).get("grpc-message", "")


class RawClient:
    """One connection. Acknowledges SETTINGS and PINGs unless told not to."""

    def __init__(
        self,
        port: int,
        *,
        hello: bool = True,
        settings: Sequence[tuple[int, int]] = (),
        receive_buffer: int = 0,
    ) -> None:
        self.socket = socket.socket()
        self.socket.settimeout(WAIT_S)
        if receive_buffer:  # has to be known before the handshake
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.buffer = b""
        self.is_polite = True
        self.is_eof = False
        if hello:
            self.send_bytes(MAGIC)
            self.settings(settings)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # ---- sending
    def send_bytes(self, data: bytes) -> None:
        self.socket.sendall(data)

    def frame(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self.send_bytes(frame_bytes(kind, flags, stream, payload))

    def settings(self, pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *p) for p in pairs))

    def headers(self, stream: int, headers: Iterable[Header] = REQUEST, flags: int = END_HEADERS) -> None:
        self.frame(HEADERS, flags, stream, self.encode(headers))

    def encode(self, headers: Iterable[Header]) -> bytes:
        block: bytes = self.encoder.encode(list(headers), huffman=False)
        return block

    def data(self, stream: int, payload: bytes, *, end: bool = False) -> None:
        self.frame(DATA, END_STREAM if end else 0, stream, payload)

    def reset(self, stream: int, code: int = 8) -> None:
        self.frame(RST, 0, stream, struct.pack(">I", code))

    def window(self, stream: int, increment: int) -> None:
        self.frame(WINDOW, 0, stream, struct.pack(">I", increment))

    # ---- receiving
    def _fill(self, end: float) -> bool:
        left = max(0.0, end - time.monotonic())
        if not select.select([self.socket], [], [], left)[0]:
            return False
        try:
            chunk = self.socket.recv(1 << 18)
        except ConnectionResetError:
            chunk = b""
        self.is_eof = not chunk
        self.buffer += chunk
        return bool(chunk)

    def read_frame(self, timeout_s: float = WAIT_S) -> Frame | None:
        """The next frame; None at the end of the connection. Fails after the timeout."""
        end = time.monotonic() + timeout_s
        while True:
            if len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + size:
                    return self._take(size)
            if self.is_eof or not self._fill(end):
                if self.is_eof:
                    return None
                raise TimeoutError("no frame from the server")

    def _take(self, size: int) -> Frame:
        kind, flags, stream = struct.unpack(">BBI", self.buffer[3:9])
        payload, self.buffer = self.buffer[9 : 9 + size], self.buffer[9 + size :]
        headers: dict[str, str] = {}
        if kind == HEADERS:
            headers = {str(k): str(v) for k, v in self.decoder.decode(payload)}
        if self.is_polite and kind in (SETTINGS, PING) and not flags & ACK:
            try:
                self.frame(kind, ACK, 0, payload if kind == PING else b"")
            except OSError:
                self.is_eof = True
        return Frame(kind, flags, stream & 0x7FFFFFFF, payload, headers)

    def until(self, is_wanted: Callable[[Frame], bool], timeout_s: float = WAIT_S) -> Frame:
        """The first frame that satisfies the condition; fails if the connection ends first."""
        end = time.monotonic() + timeout_s
        while (frame := self.read_frame(end - time.monotonic())) is not None:
            if is_wanted(frame):
                return frame
        raise AssertionError("the connection ended")

    def reply(self, stream: int, *, grant: bool = True) -> Reply:
        """Collects what comes for a stream until END_STREAM or RST_STREAM."""
        reply = Reply()
        while not reply.is_ended and reply.reset is None:
            frame = self.until(lambda f: f.stream == stream)
            if frame.type == HEADERS:
                is_end = bool(frame.flags & END_STREAM)
                if not reply.headers:
                    reply.headers, reply.is_trailers_only = frame.headers, is_end
                else:
                    reply.trailers = frame.headers
                reply.is_ended = is_end
            elif frame.type == DATA:
                reply.body += frame.payload
                reply.is_ended = bool(frame.flags & END_STREAM)
                if grant and frame.payload:
                    self.window(0, len(frame.payload))
                    self.window(stream, len(frame.payload))
            elif frame.type == RST:
                reply.reset = frame.error_code
        return reply

    def call(self, headers: Iterable[Header] = REQUEST, body: bytes = b"", stream: int = 1) -> Reply:
        """One whole unary call: request, DATA with END_STREAM, reply."""
        self.headers(stream, headers)
        self.data(stream, body, end=True)
        return self.reply(stream)

    def goaway(self) -> Frame:
        return self.until(lambda f: f.type == GOAWAY)

    def wait_closed(self, timeout_s: float = WAIT_S) -> list[Frame]:
        """Reads to the end of the connection; what came on the way."""
        frames = []
        end = time.monotonic() + timeout_s
        while (frame := self.read_frame(end - time.monotonic())) is not None:
            frames.append(frame)
        return frames

    def ping_pong(self) -> None:
        """Proves that the connection is alive and everything sent before was read."""
        mark = struct.pack(">Q", time.monotonic_ns())
        self.frame(PING, 0, 0, mark)
        self.until(lambda f: f.type == PING and f.flags == ACK and f.payload == mark)


def frame_bytes(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    head = len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream)
    return head + payload

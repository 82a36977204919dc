"""The bytes that the load generator sends, as files. Knows the protocols; starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loader.v1 import frame_pb2, loader_pb2

LOADER_EXEC = "/loader.v1.LoaderService/Exec"
LOADER_SESSION = "/loader.v1.LoaderService/Session"
XSF_CALL = "/utils.XsfCall/call"
TRITON_EXEC = "/inference.GRPCInferenceService/ModelInfer"
TRITON_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


@dataclass(frozen=True, slots=True)
class Traffic:
    """A method and the messages that go there."""

    path: str
    request: Path
    opening: Path | None = None


def traffic(folder: Path, engine: str, *, is_stream: bool, size: int) -> Traffic:
    """What to send to this engine of the loader; to `bare` and `aio` as to native; to `triton` its own."""
    name = f"{engine}-{'stream' if is_stream else 'exec'}-{size}"
    request = folder / f"{name}.bin"
    if engine == "triton":
        request.write_bytes(_triton("session" if is_stream else "echo", bytes(size)))
        if not is_stream:
            return Traffic(TRITON_EXEC, request)
        # A session is a sequence; its first request starts it.
        opening = folder / f"{name}-open.bin"
        opening.write_bytes(request.read_bytes() + LANE + _parameter(b"sequence_start", b"\x08\x01"))
        request.write_bytes(request.read_bytes() + LANE)
        return Traffic(TRITON_STREAM, request, opening)
    if engine == "aiges":
        return _aiges(request, bytes(size), is_stream=is_stream)
    served = engine if engine in ("inline", "python") else "native"
    target = loader_pb2.Target(engine=served)
    frame = frame_pb2.Frame(items=[frame_pb2.Item(key="data", data=bytes(size))])
    if not is_stream:
        request.write_bytes(loader_pb2.ExecRequest(target=target, frame=frame).SerializeToString())
        return Traffic(LOADER_EXEC, request)
    request.write_bytes(loader_pb2.SessionRequest(frame=frame).SerializeToString())
    opening = folder / f"{name}-open.bin"
    opening.write_bytes(loader_pb2.SessionRequest(open=loader_pb2.Open(target=target)).SerializeToString())
    return Traffic(LOADER_SESSION, request, opening)


def _aiges(request: Path, data: bytes, *, is_stream: bool) -> Traffic:
    """A one-shot call; or the request that creates a session, and a package for it (a LoaderInput) without sync_id."""
    attributes = _field(3, _entry(b"encoding", b"raw")) + _field(
        3, _entry(b"status", b"1" if is_stream else b"3")
    )
    package = _field(7, _field(1, _field(1, b"data") + b"\x10\x04" + attributes) + _field(2, data))
    begin = _field(1, b"native") + _field(4, _entry(b"sid", b"ase00010001@hu18c0ffee"))
    expected = _field(6, _field(1, b"data") + b"\x10\x04" + _field(3, _entry(b"encoding", b"raw")))
    if not is_stream:
        request.write_bytes(_xsf(begin + b"\x18\x01" + expected + package))
        return Traffic(XSF_CALL, request)
    opening = request.with_suffix(".open.bin")
    opening.write_bytes(_xsf(begin + expected))
    request.write_bytes(package)
    return Traffic(XSF_CALL, request, opening)


def xsf_create(engine: str) -> bytes:
    """The ReqData that opens a session."""
    return _xsf(_field(1, engine.encode()))


def xsf_poll(op: bytes, session: bytes, wait_s: float) -> bytes:
    """The ReqData of an operation on a session: op 1, s 2, param 3."""
    wait = _field(3, _entry(b"waitTime", str(int(wait_s * 1000)).encode()))
    return _field(1, op) + (_field(2, session) if session else b"") + wait


def fields_of(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that have a length; numbers are passed over."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        size, at = _read_varint(message, at)
        if tag & 7 == 2:
            yield tag >> 3, message[at : at + size]
            at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _xsf(body: bytes) -> bytes:
    """A ReqData: op 1, param 3, data 4."""
    param = b"".join(
        _field(3, _entry(k, v)) for k, v in ((b"SeqNo", b"1"), (b"version", b"v2"), (b"waitTime", b"1000"))
    )
    return _field(1, b"AIIn") + param + _field(4, _field(1, body))


def _entry(key: bytes, value: bytes) -> bytes:
    return _field(1, key) + _field(2, value)


def _triton(model: str, data: bytes) -> bytes:
    """A ModelInferRequest: model_name 1, inputs 5 {name 1, datatype 2, shape 3}, raw_input_contents 7."""
    shape = _varint(len(data)) if model == "echo" else b"\x01" + _varint(len(data))
    tensor = _field(1, b"x") + _field(2, b"UINT8") + _field(3, shape)
    return _field(1, model.encode()) + _field(5, tensor) + _field(7, data)


def _parameter(key: bytes, value: bytes) -> bytes:
    """An entry of ModelInferRequest.parameters; an InferParameter has bool 1, int64 2, string 3."""
    return _field(4, _field(1, key) + _field(2, value))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


# The load generator puts the number of its lane here.
LANE = _parameter(b"sequence_id", _field(3, b"#" * 8))

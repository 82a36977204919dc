"""A client of AIGES as its load tester is one: once, stream, lines of text, files; and single calls for golden tests.

Like the load tester it reads the server's address from the handle and dials it, and echoes the Session of each answer
after a round trip through protobuf's text format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import xsf_protos as xsf
from google.protobuf import text_format

TEXT, AUDIO, IMAGE, VIDEO, OTHER = range(5)
BEGIN, CONTINUE, END, ONCE = range(4)
STREAM_STATE, ONCE_STATE = 0, 1
HANDLE_BYTES = 26


class XsfError(Exception):
    """What the client library raises: only where error_info is not empty."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class ServiceError(Exception):
    """A code in a LoaderOutput that the load tester counts as an error."""

    def __init__(self, output: Any) -> None:
        super().__init__(f"{output.code}: {output.err}")
        self.output = output


@dataclass(frozen=True)
class Answer:
    """One reply, taken apart."""

    response: Any
    output: Any  # a LoaderOutput; empty where there is no data

    @property
    def handle(self) -> str:
        return str(self.response.s.h)

    @property
    def texts(self) -> list[str]:
        return [bytes(one.data).decode(errors="replace") for one in self.output.pl]

    @property
    def summary(self) -> tuple[int, int, list[str]]:
        """Code, status and the payloads: what golden transcripts show."""
        return (self.output.code, self.output.status, self.texts)


@dataclass
class Source:
    """One upstream of a stream session."""

    name: str
    slices: list[bytes]
    data_type: int = TEXT
    describe: dict[str, str] = field(default_factory=dict)


def payload(name: str, data: bytes, data_type: int = TEXT, **attributes: str) -> Any:
    return xsf.Payload(meta=xsf.MetaDesc(name=name, dataType=data_type, attribute=attributes), data=data)


def expect(name: str, data_type: int = TEXT, **attributes: str) -> Any:
    return xsf.MetaDesc(name=name, dataType=data_type, attribute=attributes)


def address_in(handle: str) -> str:
    """The server's address, as clients decode it."""
    assert len(handle) == HANDLE_BYTES, f"10140: {handle!r}"
    ip = ".".join(str(int(handle[i : i + 2], 16)) for i in range(1, 9, 2))
    return f"{ip}:{int(handle[9:13], 16)}"


class Xsf:
    """One client. `timeout_ms`: waitTime; the call itself may take `loss_ms` longer. The load tester has 1000 and 50:
    too little for a machine that stands still now and then. `is_fresh`: every call on a connection of its own."""

    def __init__(
        self, address: str, timeout_ms: int = 15_000, loss_ms: int = 20_000, is_fresh: bool = False
    ) -> None:
        self.timeout_ms, self.loss_ms = timeout_ms, loss_ms
        self._address, self._is_fresh = address, is_fresh
        self._channels: dict[str, grpc.Channel] = {}
        self.transcript: list[tuple[str, int, int, list[str]]] = []

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()

    def _channel(self, address: str) -> grpc.Channel:
        key = f"{address}#{len(self._channels)}" if self._is_fresh else address
        if key not in self._channels:
            options = (("grpc.use_local_subchannel_pool", 1),)
            self._channels[key] = grpc.insecure_channel(address, options=options)
        return self._channels[key]

    def raw(self, request: bytes, timeout_s: float = 30.0, address: str = "", **options: Any) -> bytes:
        call = self._channel(address or self._address).unary_unary("/utils.XsfCall/call")
        return bytes(call(request, timeout=timeout_s, **options))

    def send(self, op: str, session: Any = None, body: Any = None, **param: str) -> Answer:
        """One call, as it is; raises only gRPC's own errors."""
        return self._answer(op, self.raw(*self._request(op, session, body, param)))

    def begin(self, op: str, session: Any = None, body: Any = None, **param: str) -> grpc.Future:
        """One call, without waiting for it: `answer_of` takes it apart."""
        request, timeout_s, address = self._request(op, session, body, param)
        return self._channel(address).unary_unary("/utils.XsfCall/call").future(request, timeout=timeout_s)

    def answer_of(self, op: str, call: grpc.Future) -> Answer:
        return self._answer(op, call.result(timeout=60))

    def _request(self, op: str, session: Any, body: Any, param: dict[str, str]) -> tuple[bytes, float, str]:
        given = {"baseId": "0", "version": "v2", "waitTime": str(self.timeout_ms), **param}
        request = xsf.ReqData(op=op, param=given, s=session)
        if body is not None:
            request.data.add(data=body if isinstance(body, bytes) else body.SerializeToString())
        timeout_s = (int(given["waitTime"]) + self.loss_ms) / 1000
        is_dialled = session is not None and len(session.h) == HANDLE_BYTES
        return request.SerializeToString(), timeout_s, address_in(session.h) if is_dialled else self._address

    def _answer(self, op: str, reply: bytes) -> Answer:
        response = xsf.ResData.FromString(reply)
        output = xsf.LoaderOutput()
        if response.data:
            output.ParseFromString(response.data[0].data)
        answer = Answer(response, output)
        self.transcript.append((op, *answer.summary))
        return answer

    def call(self, op: str, session: Any = None, body: Any = None, **param: str) -> Answer:
        """One call through the client library: non-empty error_info is an error."""
        answer = self.send(op, session, body, **param)
        if answer.response.error_info:
            raise XsfError(answer.response.code, answer.response.error_info)
        return answer

    @staticmethod
    def echoed(answer: Answer) -> Any:
        """The Session of an answer as the load tester sends it back."""
        text = text_format.MessageToString(answer.response.s, as_one_line=True)
        return text_format.Parse(text, xsf.Session())

    # ---- what the load tester does

    def once(self, service: str, payloads: list[Any], **fields: Any) -> Any:
        """Mode 0. Returns the LoaderOutput."""
        for one in payloads:
            one.meta.attribute["status"], one.meta.attribute["seq"] = "3", "0"
        body = self._input(service, ONCE_STATE, "3", pl=payloads, **fields)
        answer = self.call("AIIn", None, body, SeqNo="1")
        if answer.output.code != 0:
            raise ServiceError(answer.output)
        return answer.output

    def stream(self, service: str, sources: list[Source], **fields: Any) -> list[Any]:
        """Mode 1. Returns the payloads that came, in order."""
        longest = max(len(source.slices) for source in sources)
        packages = [
            [self._slice(source, i) for source in sources if i < len(source.slices)] for i in range(longest)
        ]
        return self._session(service, packages, **fields)

    def lines(self, service: str, name: str, lines: list[str], **fields: Any) -> list[Any]:
        """Mode 2: one payload a line, numbered from 1."""
        last = len(lines)
        packages = [
            [payload(name, line.encode(), seq=str(i), status=str(END if i == last else CONTINUE))]
            for i, line in enumerate(lines, 1)
        ]
        return self._session(service, packages, **fields)

    def files(self, service: str, name: str, files: list[bytes], **fields: Any) -> list[Any]:
        """Mode 3: one file a package; SeqNo goes on counting, headers carry the sid."""
        last = len(files)
        packages = [
            [payload(name, data, OTHER, seq=str(i), status=str(END if i == last else CONTINUE))]
            for i, data in enumerate(files, 1)
        ]
        return self._session(service, packages, is_numbered=True, **fields)

    def _slice(self, source: Source, index: int) -> Any:
        status = END if index == len(source.slices) - 1 else CONTINUE
        attributes = {**source.describe, "seq": str(index), "status": str(status)}
        return payload(source.name, source.slices[index], source.data_type, **attributes)

    def _input(self, service: str, state: int, status: str, **fields: Any) -> Any:
        headers = {"sid": "ase00010001@hu18c0ffee", "status": status, **fields.pop("headers", {})}
        return xsf.LoaderInput(serviceId=service, serviceName=service, state=state, headers=headers, **fields)

    def create(self, service: str, **fields: Any) -> Answer:
        """The first call of a session."""
        return self.call("AIIn", None, self._input(service, STREAM_STATE, "0", **fields), SeqNo="1")

    def _session(
        self, service: str, packages: list[list[Any]], is_numbered: bool = False, **fields: Any
    ) -> list[Any]:
        opened = self.create(service, **fields)
        session = self.echoed(opened)
        came: list[Any] = []
        try:
            is_over = self._send_packages(service, session, packages, is_numbered, came)
            polls = 0
            while not is_over:
                answer = self.call("AIOut", session)
                is_over = self._take(answer, came)
                polls += 1
                assert polls < 1000, "the session does not end"
        finally:
            self.call("AIExcp", session)
        return came

    def _send_packages(
        self, service: str, session: Any, packages: list[list[Any]], is_numbered: bool, came: list[Any]
    ) -> bool:
        for sync_id, payloads in enumerate(packages, 1):
            body = xsf.LoaderInput(serviceId=service, state=STREAM_STATE, pl=payloads, sync_id=sync_id)
            param = {"SeqNo": str(sync_id + 1)} if is_numbered else {}
            answer = self.call("AIIn", session, body, **param)
            if answer.output.code == 10101:
                return True  # quietly
            if self._take(answer, came):
                return True
        return False

    @staticmethod
    def _take(answer: Answer, came: list[Any]) -> bool:
        if answer.output.code != 0:
            raise ServiceError(answer.output)
        came.extend(answer.output.pl)
        return bool(answer.output.status == END)

"""The connection to a command: AIGES's plug-in protocol over gRPC, one function for each RPC.

Threads of the host call; one thread of ours reads the only stream, on which all results come. Knows no sessions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import grpc

from loader.compat.aiges.convert import clean
from loader.compat.aiges.dto import DataListCls
from loader.compat.aiges.plugin import messages
from loader.compat.aiges.plugin.handshake import Address, CommandError

OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a new link is a new connection
    ("grpc.default_authority", "localhost"),  # for sockets: their path is none
)
SERVICE: Final = "plugin"  # the name of go-plugin's health service
SERVING: Final = 1
SHUTDOWN_S: Final = 0.5
CLOSED: Final = "it was lost"


class Link:
    """One connection. Raises grpc.RpcError where the command fails, or CommandError where it does not serve."""

    def __init__(self, address: Address) -> None:
        self._channel = grpc.insecure_channel(address.target, options=OPTIONS)
        self._is_over = threading.Event()
        self._exec = self._unary(messages.EXEC)
        self._create = self._unary(messages.CREATE)
        self._write = self._unary(messages.WRITE)
        self._destroy = self._unary(messages.DESTROY)
        self._health = self._unary(messages.HEALTH)

    def check(self, limit_s: float, *, is_first: bool = False) -> None:
        """Asks whether it serves; the first time, waits until it can be reached. Raises: CommandError."""
        request = messages.HealthCheckRequest(service=SERVICE)
        try:
            status = self._health(request, timeout=limit_s, wait_for_ready=is_first).status
        except ValueError:
            raise CommandError(CLOSED) from None
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
                return  # it has no health service: that it answers has to do
            raise CommandError(f"its health check failed: {text_of(error)}") from None
        if status != SERVING:
            raise CommandError(f"its health check says {status}, and {SERVING} is serving")

    def init(self, config: Mapping[str, str]) -> int:
        """wrapperInit."""
        return int(self._unary(messages.INIT)(messages.InitRequest(config=_clean(config))).ret)

    def schema(self, limit_s: float) -> str:
        """wrapperSchema; empty where it has none."""
        try:
            return str(self._unary(messages.SCHEMA)(messages.SvcId(), timeout=limit_s).data)
        except (grpc.RpcError, ValueError):
            return ""  # a wrapper without requestCls

    def exec_once(self, tag: str, params: Mapping[str, str], data: DataListCls) -> Any:
        """wrapperOnceExec: a Response, of which AIGES looks at nothing."""
        return self._exec(_request(tag, params, data))

    def create(self, params: Mapping[str, str], sid: str, tag: str) -> Any:
        """wrapperCreate: a Handle."""
        return self._create(messages.CreateRequest(params=_clean(params), sid=clean(sid), tag=tag))

    def write(self, handle: str, data: DataListCls, sid: str) -> int:
        """wrapperWrite."""
        request = messages.WriteMessage(req=_request(handle, {}, data), handle=handle, sid=clean(sid))
        return int(self._write(request).ret)

    def destroy(self, handle: str) -> int:
        """wrapperDestroy."""
        return int(self._destroy(messages.Handle(handle=handle)).ret)

    def follow_output(self, pass_on: Callable[[int, bytes], None]) -> None:
        """Gives `pass_on` what the command prints and go-plugin's own library keeps for us, with its descriptor.

        A command with that library waits, in whatever it prints with, until somebody reads it; others have no such RPC.
        """
        with suppress(ValueError):  # closed meanwhile
            stream = _calling(self._channel.unary_stream, messages.STDIO)(messages.Empty())
            threading.Thread(
                target=_read_output, args=(stream, pass_on), name="aiges-output", daemon=True
            ).start()

    def follow(self, on_result: Callable[[Any], None], on_end: Callable[[str], None]) -> None:
        """Opens the stream of results; `on_result` gets each Response, `on_end` why there are no more."""
        try:
            stream = _calling(self._channel.stream_stream, messages.COMMUNICATE)(self._nothing())
        except ValueError:
            return  # closed meanwhile, by who knows why
        threading.Thread(
            target=self._read, args=(stream, on_result, on_end), name="aiges-results", daemon=True
        ).start()

    def shut_down(self) -> None:
        """Asks it to end, where it has the RPC for that; then closes."""
        if not self._is_over.is_set():
            with suppress(grpc.RpcError, ValueError):
                self._unary(messages.SHUTDOWN)(messages.Empty(), timeout=SHUTDOWN_S)
        self.close()

    def close(self) -> None:
        """Whatever runs is cancelled."""
        self._is_over.set()
        self._channel.close()

    def _unary(self, method: messages.Method) -> Any:
        return _calling(self._channel.unary_unary, method)

    def _nothing(self) -> Iterator[Any]:
        """Our half of the stream: open, and empty."""
        self._is_over.wait()
        yield from ()

    def _read(self, stream: Any, on_result: Callable[[Any], None], on_end: Callable[[str], None]) -> None:
        reason = "it ended the stream of its results"
        try:
            for result in stream:
                on_result(result)
        except grpc.RpcError as error:
            reason = f"the stream of its results broke: {text_of(error)}"
        if not self._is_over.is_set():
            on_end(reason)


def _calling(kind: Callable[..., Any], method: messages.Method) -> Any:
    return kind(
        method.path,
        request_serializer=messages.message(method.asks).SerializeToString,
        response_deserializer=messages.message(method.answers).FromString,
    )


def _read_output(stream: Any, pass_on: Callable[[int, bytes], None]) -> None:
    with suppress(grpc.RpcError):  # it has no such RPC, or has ended
        for chunk in stream:
            if chunk.channel in (1, 2):
                pass_on(chunk.channel, chunk.data)


def text_of(error: grpc.RpcError) -> str:
    """The code and text of a failed RPC."""
    return f"{error.code().name}: {error.details()}"


def _clean(values: Mapping[str, str]) -> dict[str, str]:
    return {clean(name): clean(value) for name, value in values.items()}


def _request(tag: str, params: Mapping[str, str], data: DataListCls) -> Any:
    request = messages.Request(tag=tag, params=_clean(params))
    for node in data.list:
        request.list.add(
            key=clean(node.key), len=node.len, type=node.type, status=node.status, desc=_clean(node.desc),
            data=node.data,
        )  # fmt: skip
    return request

"""The baseline "aio": grpc.aio on uvloop, raw bytes, no protobuf. Prints its address as one JSON line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import uvloop


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Any method: unary where its name ends in Exec, else a stream."""

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method.endswith("Exec"):
            return grpc.unary_unary_rpc_method_handler(self.exec)
        return grpc.stream_stream_rpc_method_handler(self.session)

    async def exec(self, request: bytes, _context: Any) -> bytes:
        return request

    async def session(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


async def main() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"grpc": f"127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())

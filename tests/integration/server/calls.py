"""Requests of loader.v1 as the tests make them, and what an error carries."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, text_format

from loader.v1 import frame_pb2, loader_pb2


def frame(data: bytes, key: str = "data") -> frame_pb2.Frame:
    return frame_pb2.Frame(items=[frame_pb2.Item(key=key, data=data)])


def exec_request(data: bytes, engine: str = "echo") -> loader_pb2.ExecRequest:
    return loader_pb2.ExecRequest(target=loader_pb2.Target(engine=engine), frame=frame(data))


def opening(engine: str = "echo", **fields: Any) -> loader_pb2.SessionRequest:
    return loader_pb2.SessionRequest(open=loader_pb2.Open(target=loader_pb2.Target(engine=engine), **fields))


def sending(data: bytes) -> loader_pb2.SessionRequest:
    return loader_pb2.SessionRequest(frame=frame(data))


class Feed:
    """Requests that the test gives one by one."""

    def __init__(self, *first: loader_pb2.SessionRequest) -> None:
        self._queue: queue.SimpleQueue[loader_pb2.SessionRequest | None] = queue.SimpleQueue()
        for request in first:
            self.put(request)

    def put(self, request: loader_pb2.SessionRequest) -> None:
        self._queue.put(request)

    def close(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[loader_pb2.SessionRequest]:
        return iter(self._queue.get, None)


RPC_FILE = """
name: "test/rpc.proto" package: "google.rpc" syntax: "proto3" dependency: "google/protobuf/any.proto"
message_type { name: "Status"
  field { name: "code" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "message" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "details" number: 3 type: TYPE_MESSAGE type_name: ".google.protobuf.Any"
          label: LABEL_REPEATED } }
message_type { name: "ErrorInfo"
  field { name: "reason" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "domain" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "metadata" number: 3 type: TYPE_MESSAGE label: LABEL_REPEATED
          type_name: ".google.rpc.ErrorInfo.MetadataEntry" }
  nested_type { name: "MetadataEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL } } }
"""


def rpc_classes() -> tuple[Any, Any]:
    """google.rpc.Status and ErrorInfo, which no package here provides."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(RPC_FILE, descriptor_pb2.FileDescriptorProto()))
    found = (pool.FindMessageTypeByName(f"google.rpc.{name}") for name in ("Status", "ErrorInfo"))
    status, info = (message_factory.GetMessageClass(one) for one in found)
    return status, info


RpcStatus, ErrorInfo = rpc_classes()


def error_info(error: grpc.RpcError) -> Any:
    """The google.rpc.ErrorInfo that every error of ours carries."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            status = RpcStatus.FromString(value)
            assert status.code == error.code().value[0]
            first = status.details[0]
            assert first.type_url == "type.googleapis.com/google.rpc.ErrorInfo"
            return ErrorInfo.FromString(first.value)
    raise AssertionError("the error carries no details")


def refusal(call: Any) -> tuple[list[loader_pb2.SessionResponse], grpc.RpcError]:
    """What came before the error, and the error."""
    messages: list[loader_pb2.SessionResponse] = []
    with pytest.raises(grpc.RpcError) as caught:
        messages.extend(iter(lambda: next(call), None))
    return messages, caught.value

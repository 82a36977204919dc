"""gRPC failures as the typed errors of loader.errors.

Reads the google.rpc.Status that the loader attaches. Knows no call. The message google.rpc.Status lives
in a descriptor pool of our own: another package may bring it into the default one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

from loader import errors
from loader.v1 import loader_pb2

DETAILS_KEY = "grpc-status-details-bin"


class ConnectionFailedError(errors.OperatorError):
    """No loader answered at that address, or the connection broke."""

    name = "CONNECTION_FAILED"
    grpc_status = "UNAVAILABLE"
    http_status = 503
    retry = "elsewhere"


# For failures that gRPC itself reports, without details from a loader.
BY_STATUS: dict[str, type[errors.LoaderError]] = {
    "CANCELLED": errors.CancelledError,
    "DEADLINE_EXCEEDED": errors.DeadlineExceededError,
    "INVALID_ARGUMENT": errors.InvalidArgumentError,
    "PERMISSION_DENIED": errors.PermissionDeniedError,
    "RESOURCE_EXHAUSTED": errors.MessageTooLargeError,
    "UNAUTHENTICATED": errors.UnauthenticatedError,
    "UNAVAILABLE": ConnectionFailedError,
    "UNIMPLEMENTED": errors.UnsupportedError,
}


def from_rpc(failure: Any, address: str) -> errors.LoaderError:
    """The typed error of a grpc.RpcError or grpc.aio.AioRpcError."""
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY:
            found = from_details(value)
            if found is not None:
                return found
    status = failure.code().name
    kind = BY_STATUS.get(status, errors.LoaderError)
    return kind(f"{failure.details() or status} (gRPC status {status}, loader at {address})")


def from_details(encoded: bytes) -> errors.LoaderError | None:
    """The loader's error inside a serialised google.rpc.Status; None when there is none."""
    status = _status_class()()
    status.ParseFromString(encoded)
    for detail in status.details:
        error = loader_pb2.Error()
        if detail.Is(error.DESCRIPTOR) and detail.Unpack(error):
            return from_message(error)
    return None


def from_message(error: loader_pb2.Error) -> errors.LoaderError:
    """The typed error of a loader.v1.Error."""
    return errors.error_class(error.code)(
        error.message, engine_code=error.engine_code, engine_message=error.engine_message
    )


@cache
def _status_class() -> Any:
    """google.rpc.Status: code 1, message 2, details 3."""
    pool = descriptor_pool.DescriptorPool()
    any_file = descriptor_pb2.FileDescriptorProto()
    any_pb2.DESCRIPTOR.CopyToProto(any_file)
    pool.Add(any_file)
    file = descriptor_pb2.FileDescriptorProto(
        name="google/rpc/status.proto", package="google.rpc", syntax="proto3", dependency=[any_file.name]
    )
    message = file.message_type.add(name="Status")
    message.field.add(name="code", number=1, type=5, label=1)
    message.field.add(name="message", number=2, type=9, label=1)
    message.field.add(name="details", number=3, type=11, label=3, type_name=".google.protobuf.Any")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))

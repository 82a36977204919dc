"""A gRPC failure becomes the typed error that its details name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2

from loader import errors
from loader.client.failures import ConnectionFailedError, _status_class, from_details, from_rpc
from loader.v1 import loader_pb2


@dataclass
class Failure:
    """What of a grpc.RpcError is read."""

    status: grpc.StatusCode
    text: str = ""
    metadata: list[tuple[str, Any]] = field(default_factory=list)

    def code(self) -> grpc.StatusCode:
        return self.status

    def details(self) -> str:
        return self.text

    def trailing_metadata(self) -> list[tuple[str, Any]]:
        return self.metadata


def packed(*messages: Any) -> bytes:
    status = _status_class()(code=2, message="x")
    for message in messages:
        status.details.add().Pack(message)
    return bytes(status.SerializeToString())


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_every_code_of_the_table_has_its_class(code: int) -> None:
    """The engine's own code and text travel beside ours, unchanged."""
    error = loader_pb2.Error(code=code, message="no", engine_code=42, engine_message="own")
    failure = Failure(
        grpc.StatusCode.UNKNOWN, metadata=[("a", "b"), ("grpc-status-details-bin", packed(error))]
    )
    found = from_rpc(failure, "here:1")
    assert type(found) is errors.BY_CODE[code]
    assert (found.message, found.engine_code, found.engine_message) == ("no", 42, "own")


def test_details_of_others_are_passed_over() -> None:
    """The loader's error is found behind another detail, and its absence is no failure."""
    other = any_pb2.Any(value=b"x")
    assert isinstance(from_details(packed(other, loader_pb2.Error(code=3004))), errors.error_class(3004))
    assert from_details(packed(other)) is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, ConnectionFailedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
        (grpc.StatusCode.CANCELLED, errors.CancelledError),
        (grpc.StatusCode.DATA_LOSS, errors.LoaderError),
    ],
)
def test_without_details_the_status_decides(status: grpc.StatusCode, kind: type[Exception]) -> None:
    """gRPC's own failures name the status and the address."""
    found = from_rpc(Failure(status, "refused"), "here:1")
    assert type(found) is kind
    assert "refused" in found.message
    assert "here:1" in found.message

"""Health and reflection, by the clients the gRPC project publishes; keepalive by grpcio."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)
from interop_harness import OPTIONS, Server

Start = Callable[..., Server]
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
WAIT_S = 30.0


@pytest.fixture
def server(start_server: Start) -> Server:
    return start_server("--drain-ms", "5000")


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target, OPTIONS) as made:
        yield made


def check(channel: grpc.Channel, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int(stub.Check(request, timeout=WAIT_S).status)


def test_health_knows_the_server_and_its_services(channel: grpc.Channel) -> None:
    """The empty name is the whole server; an unknown one is NOT_FOUND."""
    assert check(channel, "") == SERVING
    assert check(channel, "grpc.testing.TestService") == SERVING
    with pytest.raises(grpc.RpcError) as error:
        check(channel, "nobody")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_watch_reports_each_change_and_unknown_services_stay_open(
    server: Server, channel: grpc.Channel
) -> None:
    """SERVICE_UNKNOWN first, then every change; a drain ends it with UNAVAILABLE."""
    stub = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="flip"), timeout=WAIT_S)
    assert next(watch).status == SERVICE_UNKNOWN
    for expected in (SERVING, NOT_SERVING, SERVING):
        server.process.send_signal(signal.SIGUSR2)
        assert next(watch).status == expected
    server.drain()
    seen: list[int] = []
    with pytest.raises(grpc.RpcError) as error:
        seen.extend(reply.status for reply in watch)
    assert set(seen) <= {NOT_SERVING}
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    server.wait_line("drained")


def test_health_rejects_what_is_no_protobuf(channel: grpc.Channel) -> None:
    """A body that does not parse is INTERNAL."""
    with pytest.raises(grpc.RpcError) as error:
        channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff\xff", timeout=WAIT_S)
    assert error.value.code() is grpc.StatusCode.INTERNAL


def test_health_list_names_all_services(channel: grpc.Channel) -> None:
    """List is a map from name to status."""
    reply: bytes = channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=WAIT_S)
    assert b"\x0a\x18grpc.testing.TestService\x12\x02\x08\x01" in reply


def test_reflection_lists_services_and_rebuilds_a_message(channel: grpc.Channel) -> None:
    """The published client can rebuild every type, imports included."""
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    assert {
        "grpc.testing.TestService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= services
    pool = DescriptorPool(database)
    service = pool.FindServiceByName("grpc.testing.TestService")
    assert service.FindMethodByName("FullDuplexCall").input_type.name.startswith("Streaming")
    assert pool.FindMessageTypeByName("grpc.reflection.v1.ErrorResponse") is not None


def ask(
    channel: grpc.Channel, version: str, *requests: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    method = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(method(iter(requests), timeout=WAIT_S))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize(
    "symbol",
    [
        "grpc.testing.TestService",
        "grpc.testing.TestService.EmptyCall",
        "grpc.testing.SimpleRequest",
        ".grpc.testing.SimpleRequest",
        "grpc.testing.SimpleRequest.payload",
        "grpc.testing.PayloadType",
        "grpc.testing.COMPRESSABLE",
    ],
)
def test_reflection_finds_every_kind_of_symbol(channel: grpc.Channel, version: str, symbol: str) -> None:
    """Services, methods, messages, fields, enums and their values, under both versions."""
    request = reflection_pb2.ServerReflectionRequest(host="h", file_containing_symbol=symbol)
    (reply,) = ask(channel, version, request)
    assert (reply.valid_host, reply.original_request) == ("h", request)
    files = reply.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(files[0]).name == "grpc/testing/test.proto"


def test_reflection_answers_each_request_in_order_and_errors_do_not_end_it(
    channel: grpc.Channel,
) -> None:
    """Not found is an answer; the stream goes on."""
    make = reflection_pb2.ServerReflectionRequest
    extension = reflection_pb2.ExtensionRequest(containing_type="grpc.testing.Empty", extension_number=7)
    replies = ask(
        channel,
        "v1",
        make(file_by_filename="nope.proto"),
        make(file_by_filename="grpc/testing/test.proto"),
        make(file_containing_extension=extension),
        make(all_extension_numbers_of_type="grpc.testing.Empty"),
        make(all_extension_numbers_of_type="nope"),
        make(list_services="anything"),
    )
    kinds = [r.WhichOneof("message_response") for r in replies]
    assert kinds == [
        "error_response",
        "file_descriptor_response",
        "error_response",
        "all_extension_numbers_response",
        "error_response",
        "list_services_response",
    ]
    assert [r.error_response.error_code for r in replies] == [5, 0, 5, 0, 5, 0]


def test_reflection_ends_on_an_empty_request(channel: grpc.Channel) -> None:
    """No oneof member: INVALID_ARGUMENT."""
    with pytest.raises(grpc.RpcError) as error:
        ask(channel, "v1", reflection_pb2.ServerReflectionRequest(host="x"))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_keepalive_client_within_the_limits_is_left_alone(start_server: Start) -> None:
    """grpcio pinging at the allowed pace keeps its stream."""
    server = start_server("--set", "min_ping_interval_ms=50")
    options = [
        *OPTIONS,
        ("grpc.keepalive_time_ms", 100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    ]
    with grpc.insecure_channel(server.target, options) as channel:
        method = channel.stream_stream("/bench.Hostile/Hold")
        with pytest.raises(grpc.RpcError) as error:
            list(method(iter(()), timeout=1.5))
        assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.stats()["misbehaved"] == 0

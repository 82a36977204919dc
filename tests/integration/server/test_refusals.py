"""Every refusal of a call: its error, its reason in final, where it is counted. On each method, end to end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from calls import Feed, error_info, frame, opening, refusal, sending

from loader.v1 import loader_pb2

WAIT_S = 20.0
METHODS = ("Session", "ExecStream", "Exec")
DECLARED = {"parameters": [{"name": "rate", "type": "integer", "minimum": 1, "maximum": 9}]}

Refused = tuple[str, int | None]


def request_of(method: str, **fields: Any) -> Any:
    """The first message of a call: the target by its fields, and parameters."""
    parameters = fields.pop("parameters", {})
    target = loader_pb2.Target(**{"engine": "echo"} | fields)
    if method == "Session":
        return loader_pb2.SessionRequest(open=loader_pb2.Open(target=target, parameters=parameters))
    kind = loader_pb2.ExecRequest if method == "Exec" else loader_pb2.ExecStreamRequest
    return kind(target=target, parameters=parameters, frame=frame(b"x"))


def begin(plane: Any, method: str, request: Any) -> Any:
    """A call of that method, as an iterator of its responses."""
    path = f"/loader.v1.LoaderService/{method}"
    if method == "Session":
        return plane.session(iter(Feed(request)))
    stream = plane.channel.unary_stream(
        path, lambda m: m.SerializeToString(), loader_pb2.ExecStreamResponse.FromString
    )
    return stream(request, timeout=WAIT_S)


def refused(plane: Any, method: str, **fields: Any) -> Refused:
    """The error's name and the reason in final; Exec has no final."""
    return outcome(begin(plane, method, request_of(method, **fields)))


def outcome(call: Any) -> Refused:
    messages, error = refusal(call)
    info = error_info(error)
    row = next(row for row in table() if row["name"] == info.reason)
    assert error.code().value[0] == row["grpc"] or error.code().name == row["grpc"]
    assert dict(info.metadata)["retry"] == row["retry"]
    finals = [m.final for m in messages if m.HasField("final")]
    assert all(final.error.name == info.reason for final in finals)
    return info.reason, finals[0].reason if finals else None


def table() -> list[dict[str, Any]]:
    from loader import _core

    return _core.error_table()


def counted(plane: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Refusals by error, and closed ones by reason (those that there were)."""
    statistics = plane.core.statistics()
    closed: dict[str, int] = {}
    for engine in statistics["engines"]:
        for reason, value in engine["closed"].items():
            closed[reason] = closed.get(reason, 0) + value
    return statistics["refusals"], {reason: value for reason, value in closed.items() if value}


@contextmanager
def held_slot(plane: Any) -> Iterator[None]:
    """Another session has the only slot meanwhile."""
    feed = Feed(opening())
    call = plane.session(iter(feed))
    assert next(call).HasField("opened")
    try:
        yield
    finally:
        feed.close()
        assert [m.WhichOneof("message") for m in call] == ["final"]


def expected(method: str, name: str, reason: int) -> Refused:
    return name, None if method == "Exec" else reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"engine": "nobody"}, "UNKNOWN_ENGINE"),
        ({"version": "7"}, "UNKNOWN_ENGINE"),
        ({"engine": ""}, "INVALID_ARGUMENT"),
        ({"engine": "", "selector": {"language": "de"}}, "UNKNOWN_ENGINE"),
        ({"parameters": {"rate": "10"}}, "INVALID_ARGUMENT"),
        ({"parameters": {"speed": "1"}}, "INVALID_ARGUMENT"),
    ],
)
def test_what_cannot_begin_is_refused(plane: Any, method: str, fields: dict[str, Any], name: str) -> None:
    """Reason `refused`, counted by its error; no session and no exec was ever there."""
    plane.add_engine({"declaration_json": json.dumps(DECLARED)})
    assert refused(plane, method, **fields) == expected(method, name, loader_pb2.CLOSE_REASON_REFUSED)
    assert counted(plane) == ({name: 1}, {})


def no_slot(plane: Any, method: str) -> Refused:
    plane.add_echo(slots=1, admission_wait_ms=50)
    with held_slot(plane):
        return refused(plane, method)


def no_slot_and_no_wait(plane: Any, method: str) -> Refused:
    plane.add_echo(slots=1, admission_wait_ms=0)
    with held_slot(plane):
        return refused(plane, method)


def full_queue(plane: Any, method: str) -> Refused:
    plane.add_echo(slots=1, admission_wait_ms=60_000, queue_limit=1)
    with held_slot(plane):
        waiting = plane.session(iter([opening()]))
        until = time.monotonic() + WAIT_S
        while plane.counters()["queue_depth"] == 0:
            assert time.monotonic() < until, "nobody waits"
        result = refused(plane, method)
        waiting.cancel()
        return result


def no_instance(plane: Any, method: str) -> Refused:
    plane.add_engine({"admission_wait_ms": 50})
    return refused(plane, method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("provoke", "name"),
    [
        (no_slot, "NO_FREE_SLOT"),
        (no_slot_and_no_wait, "NO_FREE_SLOT"),
        (full_queue, "QUEUE_FULL"),
        (no_instance, "ENGINE_UNAVAILABLE"),
    ],
)
def test_what_gets_no_slot_ends_by_admission(
    plane: Any, method: str, provoke: Callable[[Any, str], Refused], name: str
) -> None:
    """Reason `admission`, retry elsewhere; it was a session, so it is counted as closed."""
    assert provoke(plane, method) == expected(method, name, loader_pb2.CLOSE_REASON_ADMISSION)
    refusals, closed = counted(plane)
    assert (refusals, closed["admission"]) == ({}, 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_deadline_in_the_queue_ends_by_deadline(plane_with: Any, method: str) -> None:
    """Told by the loader itself, whose limit is shorter than the client's patience."""
    plane = plane_with(max_deadline_ms=100)
    plane.add_engine({"admission_wait_ms": 60_000})
    result = refused(plane, method)
    assert result == expected(method, "DEADLINE_EXCEEDED", loader_pb2.CLOSE_REASON_DEADLINE)
    assert counted(plane) == ({}, {"deadline": 1})


@pytest.mark.parametrize("method", METHODS)
def test_a_message_over_the_limit_is_refused(plane: Any, method: str) -> None:
    """Refused from its five-byte prefix, so before the engine is known."""
    plane.add_echo()
    result = refused(plane, method, labels={"large": "x" * (5 << 20)})
    assert result == expected(method, "MESSAGE_TOO_LARGE", loader_pb2.CLOSE_REASON_REFUSED)
    assert counted(plane) == ({"MESSAGE_TOO_LARGE": 1}, {})


def test_a_frame_over_the_limit_ends_its_session_by_protocol(plane: Any) -> None:
    """It was a session: closed, with final before the status."""
    plane.add_echo()
    call = plane.session(iter(Feed(opening(), sending(bytes(5 << 20)))))
    assert outcome(call) == ("MESSAGE_TOO_LARGE", loader_pb2.CLOSE_REASON_PROTOCOL)
    assert counted(plane) == ({}, {"protocol": 1})


def test_a_session_that_outlives_its_deadline_gets_final(plane_with: Any) -> None:
    """The deadline of an open session: final with its counters, then the status with details."""
    plane = plane_with(max_deadline_ms=3000)
    plane.add_echo()
    call = plane.session(iter(Feed(opening(), sending(b"x"))))
    assert [next(call).WhichOneof("message") for _ in range(2)] == ["opened", "result"]
    assert outcome(call) == ("DEADLINE_EXCEEDED", loader_pb2.CLOSE_REASON_DEADLINE)
    assert counted(plane) == ({}, {"deadline": 1})


def test_an_open_that_comes_during_a_drain_ends_by_drain(plane: Any) -> None:
    """The stream was there before; DRAINING says retry elsewhere."""
    plane.add_echo()
    feed = Feed()
    call = plane.session(iter(feed))
    call.initial_metadata()
    plane.core.drain(10.0)
    feed.put(opening())
    assert outcome(call) == ("DRAINING", loader_pb2.CLOSE_REASON_DRAIN)
    assert counted(plane)[1] == {"drain": 1}


@pytest.mark.parametrize(
    ("first", "name", "reason"),
    [
        (sending(b"x"), "PROTOCOL_VIOLATION", loader_pb2.CLOSE_REASON_PROTOCOL),
        (loader_pb2.SessionRequest(end={}), "PROTOCOL_VIOLATION", loader_pb2.CLOSE_REASON_PROTOCOL),
        (loader_pb2.SessionRequest(cancel={}), "CANCELLED", loader_pb2.CLOSE_REASON_CLIENT_CANCEL),
    ],
)
def test_what_comes_before_open_ends_with_its_own_reason(
    plane: Any, first: Any, name: str, reason: int
) -> None:
    """A broken protocol is `protocol`, a cancel is `client_cancel`; both counted as refusals."""
    plane.add_echo()
    assert outcome(begin(plane, "Session", first)) == (name, reason)
    assert counted(plane) == ({name: 1}, {})


def test_an_invalid_frame_of_an_open_session_ends_it_by_protocol(plane: Any) -> None:
    """It was a session: closed, not refused."""
    plane.add_echo()
    bad = loader_pb2.SessionRequest(frame=frame(b"x", key=""))
    call = plane.session(iter(Feed(opening(), bad)))
    assert outcome(call) == ("INVALID_ARGUMENT", loader_pb2.CLOSE_REASON_PROTOCOL)
    assert counted(plane) == ({}, {"protocol": 1})


def test_describing_an_unknown_engine_is_a_refusal(plane: Any) -> None:
    """Counted like the others."""
    call = plane.channel.unary_unary(
        "/loader.v1.LoaderService/Describe",
        loader_pb2.DescribeRequest.SerializeToString,
        loader_pb2.DescribeResponse.FromString,
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(loader_pb2.DescribeRequest(engine="nobody"), timeout=WAIT_S)
    assert error_info(caught.value).reason == "UNKNOWN_ENGINE"
    assert counted(plane)[0] == {"UNKNOWN_ENGINE": 1}

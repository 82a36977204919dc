"""The data plane end to end: gRPC in, engine process, gRPC out, with grpcio as the client."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from calls import Feed, error_info, exec_request, opening, refusal, sending

from loader.v1 import loader_pb2

WAIT_S = 20.0


def health_of_echo(plane: Any) -> str:
    health = pytest.importorskip("grpc_health.v1.health_pb2")
    check = plane.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health.HealthCheckRequest.SerializeToString,
        health.HealthCheckResponse.FromString,
    )
    answer = check(health.HealthCheckRequest(service="echo"), timeout=WAIT_S)
    return str(health.HealthCheckResponse.ServingStatus.Name(answer.status))


@pytest.mark.parametrize("size", [0, 1, 1024, 16_384, 16_385, 65_536, 300_000, 3_000_000])
def test_exec_returns_what_was_sent_whatever_its_size(plane: Any, size: int) -> None:
    """Payloads travel in the record, the arena or a file of their own; the client sees no difference."""
    plane.add_echo()
    data = os.urandom(size)
    response = plane.exec(exec_request(data))
    assert [item.data for one in response.frames for item in one.items] == [data]


def test_a_session_answers_in_order_and_ends_with_one_final(plane: Any) -> None:
    """opened first, results in order, final last and once."""
    plane.add_echo()
    sent = [os.urandom(size) for size in (1, 1000, 20_000, 200_000, 7)]
    kinds, data = [], []
    for message in plane.session(iter([opening(), *map(sending, sent)])):
        kinds.append(message.WhichOneof("message"))
        if kinds[-1] == "result":
            data.append(message.result.items[0].data)
    assert kinds == ["opened", *["result"] * len(sent), "final"]
    assert data == sent
    assert message.final.reason == loader_pb2.CLOSE_REASON_FINISHED
    assert message.final.statistics.frames_in == len(sent)


def test_acks_follow_when_asked_for(plane: Any) -> None:
    """The last ack names the last frame."""
    plane.add_echo()
    requests = [opening(wants_acks=True), *[sending(b"x")] * 5]
    acks = [m.ack.seq for m in plane.session(iter(requests)) if m.WhichOneof("message") == "ack"]
    assert acks == sorted(acks)
    assert acks[-1] == 5


@pytest.mark.parametrize(
    ("requests", "code", "name"),
    [
        ([sending(b"x")], grpc.StatusCode.FAILED_PRECONDITION, "PROTOCOL_VIOLATION"),
        ([], grpc.StatusCode.FAILED_PRECONDITION, "PROTOCOL_VIOLATION"),
        ([opening(), opening()], grpc.StatusCode.FAILED_PRECONDITION, "PROTOCOL_VIOLATION"),
        ([opening("nobody")], grpc.StatusCode.NOT_FOUND, "UNKNOWN_ENGINE"),
        ([opening("")], grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        ([opening(resume_token="x")], grpc.StatusCode.UNIMPLEMENTED, "UNSUPPORTED"),
        ([opening(), loader_pb2.SessionRequest(cancel={})], grpc.StatusCode.CANCELLED, "CANCELLED"),
    ],
)
def test_misuse_is_refused_with_a_final_and_its_name(
    plane: Any, requests: list[Any], code: grpc.StatusCode, name: str
) -> None:
    """Every refusal says final before its status, and carries ErrorInfo."""
    plane.add_echo()
    feed = Feed(*requests)
    if not requests:
        feed.close()
    messages, error = refusal(plane.session(iter(feed)))
    feed.close()
    assert error.code() is code
    info = error_info(error)
    assert (info.reason, info.domain) == (name, "engine-loader")
    finals = [m.final for m in messages if m.WhichOneof("message") == "final"]
    assert len(finals) == 1
    assert finals[0].error.name == name
    assert plane.exec(exec_request(b"next")).frames


def test_a_frame_after_end_is_refused(plane: Any) -> None:
    """PROTOCOL_VIOLATION; the session waits for a slot meanwhile, so that it cannot have finished."""
    plane.add_echo(slots=1, admission_wait_ms=60_000)
    feed = Feed(opening())
    holder = plane.session(iter(feed))
    next(holder)
    late = [opening(), loader_pb2.SessionRequest(end={}), sending(b"x")]
    _, error = refusal(plane.session(iter(Feed(*late))))
    assert error_info(error).reason == "PROTOCOL_VIOLATION"
    feed.close()
    assert [m.WhichOneof("message") for m in holder] == ["final"]


def test_the_death_of_a_host_ends_its_sessions_once_and_the_next_host_serves(plane: Any) -> None:
    """host_died, with ENGINE_DIED and retry elsewhere; then everything works again."""
    instance = plane.add_echo()
    feed = Feed(opening(), sending(b"x"))
    call = plane.session(iter(feed))
    assert [next(call).WhichOneof("message") for _ in range(2)] == ["opened", "result"]
    os.kill(plane.processes[0].pid, signal.SIGKILL)
    messages, error = refusal(call)
    feed.close()
    assert [m.final.reason for m in messages] == [loader_pb2.CLOSE_REASON_HOST_DIED]
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(error_info(error).metadata)["retry"] == "elsewhere"
    died = plane.wait_for("host_died", instance=instance)
    assert died["exit_signal"] == signal.SIGKILL
    plane.start_host()
    assert plane.exec(exec_request(b"again")).frames


def test_a_kill_always_tells_why(plane: Any) -> None:
    """The end of the process may be seen by a shard before the thread that kills it has said all."""
    for instance in [plane.add_echo(), *(plane.start_host() for _ in range(19))]:
        plane.core.kill_instance(instance, f"enough of {instance}")
        died = plane.wait_for("host_died", instance=instance)
        assert (died["message"], died["name"]) == (f"enough of {instance}", "ENGINE_DIED")


def test_a_client_that_goes_away_frees_its_slot(plane: Any) -> None:
    """With one slot, the next session waits only for the first one's destroy."""
    plane.add_echo(slots=1, admission_wait_ms=15_000)
    feed = Feed(opening())
    call = plane.session(iter(feed))
    assert next(call).WhichOneof("message") == "opened"
    call.cancel()
    feed.close()
    assert plane.exec(exec_request(b"x")).frames
    plane.wait_counters(slots_used=0, sessions_open=0)


def test_no_free_slot_is_refused_after_the_admission_wait(plane: Any) -> None:
    """RESOURCE_EXHAUSTED, retry elsewhere, and the waiting was bounded."""
    plane.add_echo(slots=1, admission_wait_ms=100)
    feed = Feed(opening())
    call = plane.session(iter(feed))
    next(call)
    with pytest.raises(grpc.RpcError) as caught:
        plane.exec(exec_request(b"x"))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(caught.value).reason == "NO_FREE_SLOT"
    feed.close()
    assert [m.WhichOneof("message") for m in call] == ["final"]


def test_an_operator_closes_a_session(plane: Any) -> None:
    """kicked, with the operator's words; an unknown id is false."""
    plane.add_echo()
    feed = Feed(opening())
    call = plane.session(iter(feed))
    session_id = next(call).opened.session_id
    (listed,) = plane.core.sessions("echo")
    assert (listed["session_id"], listed["state"]) == (session_id, "open")
    assert plane.core.kill_session(session_id, "maintenance at noon")
    messages, error = refusal(call)
    feed.close()
    assert messages[-1].final.reason == loader_pb2.CLOSE_REASON_KICKED
    assert "maintenance at noon" in error.details()
    assert not plane.core.kill_session(session_id, "")
    assert not plane.core.kill_session("nonsense", "")


def test_a_drain_lets_sessions_finish_and_refuses_new_ones(plane: Any) -> None:
    """The open session goes on; drained is told when it has ended."""
    plane.add_echo()
    feed = Feed(opening(), sending(b"1"))
    call = plane.session(iter(feed))
    assert [next(call).WhichOneof("message") for _ in range(2)] == ["opened", "result"]
    plane.core.drain(WAIT_S)
    feed.put(sending(b"2"))
    assert next(call).result.items[0].data == b"2"
    feed.close()
    assert next(call).final.reason == loader_pb2.CLOSE_REASON_FINISHED
    plane.wait_for("drained")


def test_a_second_drain_waits_for_every_shard_again(plane: Any) -> None:
    """What a shard said of the first one, as an operator's before the signal, counts no more."""
    plane.add_echo()
    feed = Feed(opening())
    call = plane.session(iter(feed))
    assert next(call).WhichOneof("message") == "opened"
    for stay in (True, False):
        plane.core.drain(600.0, stay)
    plane.core.statistics()  # every shard has had a round to say something
    plane.events += plane.core.take_events()
    assert not [event for event in plane.events if event["kind"] == "drained"]
    feed.close()
    assert [m.WhichOneof("message") for m in call] == ["final"]
    plane.channel.close()
    plane.wait_for("drained")


def test_every_drain_that_ends_says_so(plane: Any) -> None:
    """With nothing open each one ends at once, whatever came before it."""
    for stay in (True, True, False):
        plane.core.drain(600.0, stay)
        plane.wait_for("drained")


def test_a_stopped_instance_runs_fini_and_ends_by_itself(plane: Any) -> None:
    """instance_stopped with exit code 0."""
    instance = plane.add_echo()
    plane.core.stop_instance(instance, WAIT_S)
    assert plane.wait_for("instance_stopped", instance=instance)["exit_signal"] == 0
    assert plane.processes[0].wait(WAIT_S) == 0


def test_an_instance_that_is_stopped_while_it_starts_gets_no_work(plane: Any) -> None:
    """What waits for a slot goes on waiting: the instance's init ends behind its fini."""
    plane.route_echo(admission_wait_ms=60_000, destroy_timeout_ms=60_000)
    stopped = plane.begin_host(is_held=True)
    waiting = plane.begin_exec(exec_request(b"x"))
    plane.core.stop_instance(stopped, 20.0, "drain")
    plane.core.statistics()  # the shards have heard of it
    plane.processes[0].send_signal(signal.SIGCONT)
    plane.wait_for("instance_stopped", instance=stopped)
    assert not [event for event in plane.events if event["kind"] == "instance_ready"]
    plane.start_host()
    assert waiting.result(WAIT_S).frames


def test_a_slow_reader_is_bounded_and_hurts_nobody(plane: Any) -> None:
    """A client that reads nothing stops its own engine session; another one is served meanwhile."""
    plane.add_echo()

    def flood() -> Iterator[loader_pb2.SessionRequest]:
        yield opening()
        while True:
            yield sending(bytes(1024))

    call = plane.session(flood())
    next(call)
    for _ in range(50):
        assert plane.exec(exec_request(bytes(1024))).frames
    counters = plane.counters()
    assert counters["queued_input_bytes"] < 512 << 10
    assert counters["queued_result_bytes"] < 512 << 10
    call.cancel()


def test_health_and_describe_know_the_engine(plane: Any) -> None:
    """SERVING once an instance is ready; NOT_SERVING when none is left."""
    plane.add_echo()
    assert health_of_echo(plane) == "SERVING"
    describe = plane.channel.unary_unary(
        "/loader.v1.LoaderService/Describe",
        loader_pb2.DescribeRequest.SerializeToString,
        loader_pb2.DescribeResponse.FromString,
    )
    (engine,) = describe(loader_pb2.DescribeRequest(), timeout=WAIT_S).engines
    assert (engine.name, engine.state, engine.slots) == ("echo", "ready", 8)
    os.kill(plane.processes[0].pid, signal.SIGKILL)
    plane.wait_for("host_died")
    assert health_of_echo(plane) == "NOT_SERVING"


def test_a_name_is_served_while_one_of_its_engines_is(plane: Any) -> None:
    """Another version beside it that is not ready yet, or has died, takes nothing away."""
    plane.add_echo()
    other = plane.core.add_engine("echo", "2", {})
    plane.core.apply({"routes": {"echo": [{"engine": plane.engine}, {"engine": other}]}})
    assert health_of_echo(plane) == "SERVING"
    plane.core.apply({"routes": {"echo": [{"engine": other}]}})
    assert health_of_echo(plane) == "NOT_SERVING"


def test_health_says_how_it_is_whoever_changed_it_last(plane: Any) -> None:
    """An instance that ends while it becomes ready is not served."""
    plane.route_echo()
    for _ in range(10):
        instance = plane.begin_host()
        deadline = time.monotonic() + WAIT_S
        while not any(row["state"] == "ready" for row in plane.core.statistics()["instances"]):
            assert time.monotonic() < deadline
        plane.core.kill_instance(instance, "enough")
        plane.wait_for("host_died", instance=instance)
        assert health_of_echo(plane) == "NOT_SERVING"


def test_admin_calls_reach_the_control_plane_and_come_back(plane: Any) -> None:
    """The request's bytes as an event, the answer's bytes as the response."""
    call = plane.channel.unary_unary(
        "/loader.v1.AdminService/GetStatistics", lambda b: b, lambda b: b
    ).future(b"", timeout=WAIT_S)
    event = plane.wait_for("admin_call", method="GetStatistics")
    plane.core.answer_admin(event["call_id"], b"\x0a\x00", None)
    assert call.result() == b"\x0a\x00"


def test_a_watcher_that_does_not_read_is_let_go(plane: Any) -> None:
    """What waits for it is bounded; the control plane hears of it, and the client when it reads."""
    events = plane.channel.unary_stream("/loader.v1.AdminService/WatchEvents", lambda b: b, lambda b: b)
    call = events(b"", timeout=60.0)
    watcher = plane.wait_for("admin_call", method="WatchEvents")["call_id"]
    for _ in range(1000):
        plane.core.answer_admin(watcher, bytes(64 << 10), None)
    plane.wait_for("admin_cancelled", call_id=watcher)
    messages, error = refusal(call)
    assert len(messages) < 500
    assert error_info(error).reason == "QUEUE_FULL"

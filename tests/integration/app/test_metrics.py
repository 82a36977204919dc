"""/metrics of a working loader: every figure that is promised, with its value under load."""

from __future__ import annotations

import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from freezing import freeze
from prometheus_client.parser import text_string_to_metric_families
from running import Running, until

from loader.v1 import admin_pb2, frame_pb2, loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]


class Metrics:
    """One look at /metrics."""

    def __init__(self, running: Running) -> None:
        with urllib.request.urlopen(f"http://{running.ready['http']}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            self._samples = [sample for family in families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The one sample with these labels; more may be there."""
        found = [
            sample.value
            for sample in self._samples
            if sample.name == f"loader_{name}" and labels.items() <= sample.labels.items()
        ]
        assert len(found) == 1, (name, labels, found)
        return float(found[0])


def wait_for(running: Running, value: float, name: str, **labels: str) -> None:
    until(lambda: Metrics(running).value(name, **labels) == value, f"{name} is {value}")


def frame(size: int) -> loader_pb2.SessionRequest:
    item = frame_pb2.Item(key="text", data=bytes(size))
    return loader_pb2.SessionRequest(frame=frame_pb2.Frame(items=[item]))


END = loader_pb2.SessionRequest(end=loader_pb2.End())


def test_sessions_frames_and_bytes_are_counted(start: Start, wrapper: Write) -> None:
    """Opened, open, closed by reason; frames and bytes each way; the latency of calls and first results."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 4}}}}")
    done, cancelled, held = (running.open_session("echo") for _ in range(3))
    for session in (done, held):
        for _ in range(2):
            session.say(frame(1000))
            assert next(session.call).HasField("result")
    done.say(END)
    assert done.final().reason == loader_pb2.CLOSE_REASON_FINISHED
    cancelled.say(loader_pb2.SessionRequest(cancel=loader_pb2.Cancel()))
    with pytest.raises(grpc.RpcError):
        cancelled.final()
        next(cancelled.call)
    running.echo("echo")
    wait_for(running, 1, "sessions_open", engine="echo")
    wait_for(running, 1, "slots_used", engine="echo")
    metrics = Metrics(running)
    assert metrics.value("sessions_opened_total", engine="echo") == 3
    assert metrics.value("execs_total", engine="echo") == 1
    assert metrics.value("sessions_closed_total", engine="echo", reason="finished") == 2
    assert metrics.value("sessions_closed_total", engine="echo", reason="client_cancel") == 1
    assert metrics.value("slots", engine="echo") == 4
    for way in ("in", "out"):
        assert metrics.value(f"frames_{way}_total", engine="echo") == 5
        assert 4000 < metrics.value(f"bytes_{way}_total", engine="echo") < 4500
    assert metrics.value("first_result_seconds_count", engine="echo") == 3
    assert metrics.value("call_latency_seconds_count", engine="echo") == 6  # four writes, an end, an exec
    assert 0 < metrics.value("call_latency_seconds_sum", engine="echo") < 60
    assert metrics.value("call_latency_seconds_bucket", engine="echo", le="+Inf") == 6
    held.say(END)
    held.final()


def test_the_queue_is_seen_while_calls_wait(start: Start, wrapper: Write) -> None:
    """Its depth now, and how long the wait was."""
    echo = wrapper("echo")
    running = start(f"engines: {{echo: {{wrapper: {echo}, slots: 1, admission_wait_ms: 60000}}}}")
    held = running.open_session("echo")
    request = loader_pb2.ExecRequest(target=loader_pb2.Target(engine="echo"), frame=frame(1).frame)
    waiting = running.engine.Exec.future(request, timeout=30)
    wait_for(running, 1, "queue_depth", engine="echo")
    held.say(END)
    held.final()
    assert waiting.result().frames
    wait_for(running, 0, "queue_depth", engine="echo")
    metrics = Metrics(running)
    assert metrics.value("queue_wait_seconds_count", engine="echo") == 2
    assert metrics.value("queue_wait_seconds_sum", engine="echo") > 0


def test_refusals_are_counted_by_error(start: Start, wrapper: Write) -> None:
    """What never became a session or exec."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            running.echo("nobody")
    assert Metrics(running).value("refusals_total", error="UNKNOWN_ENGINE") == 2


def test_a_restart_is_counted_and_the_state_told(start: Start, wrapper: Write) -> None:
    """One state at a time is 1."""
    echo = wrapper("echo")
    running = start(f"engines: {{echo: {{wrapper: {echo}, restart: {{backoff_s: 0.05}}}}}}")
    assert Metrics(running).value("engine_state", engine="echo", state="ready") == 1
    assert Metrics(running).value("instance_rss_bytes", engine="echo", instance="0") > 1 << 20
    os.kill(running.instance("echo").pid, signal.SIGKILL)
    wait_for(running, 1, "instance_restarts_total", engine="echo", instance="0")
    wait_for(running, 1, "engine_state", engine="echo", state="ready")
    metrics = Metrics(running)
    states = ("starting", "degraded", "failed", "draining", "stopped")
    assert [metrics.value("engine_state", engine="echo", state=state) for state in states] == [0] * 5


def test_the_channel_shows_what_a_stopped_host_does_not_take(start: Start, wrapper: Write) -> None:
    """Shared memory in use, and input over the window; both 0 again afterwards."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 16, host_timeout_ms: 60000}}}}")
    sessions = [running.open_session("echo") for _ in range(16)]
    labels = {"engine": "echo", "instance": "0"}
    pid = running.instance("echo").pid
    freeze(pid)
    try:
        for session in sessions:
            session.say(frame(100_000))  # travels in shared memory, and overdraws the window
            session.say(frame(30_000))
        wait_for(running, 16, "sessions_open", engine="echo")
        until(lambda: Metrics(running).value("instance_arena_bytes_used", **labels) > 1_600_000, "arena")
        until(lambda: Metrics(running).value("queued_input_bytes", engine="echo") > 16 * 30_000, "queue")
    finally:
        os.kill(pid, signal.SIGCONT)
    for session in sessions:
        session.say(END)
        assert session.final().reason == loader_pb2.CLOSE_REASON_FINISHED
    wait_for(running, 0, "instance_arena_bytes_used", **labels)
    wait_for(running, 0, "queued_input_bytes", engine="echo")
    assert Metrics(running).value("instance_arena_bytes", **labels) >= 1 << 20


def test_bytes_that_a_stopped_host_does_not_read_are_seen(start: Start, wrapper: Write) -> None:
    """Small frames within the window wait for the socket, when that is full."""
    config = f"wrapper: {wrapper('echo')}, slots: 8, host_timeout_ms: 60000, session_window_bytes: 1048576"
    # The HTTP/2 window opens again when the engine is done with a frame: it has to hold them all.
    running = start(f"limits: {{stream_window_bytes: 1048576}}\nengines: {{echo: {{{config}}}}}")
    sessions = [running.open_session("echo") for _ in range(8)]
    labels = {"engine": "echo", "instance": "0"}
    pid = running.instance("echo").pid
    freeze(pid)
    try:
        for session in sessions:
            for _ in range(60):
                session.say(frame(15_000))  # 7.2 MB in all; the socket takes 2
        until(lambda: Metrics(running).value("instance_channel_bytes_queued", **labels) > 1_000_000, "queued")
    finally:
        os.kill(pid, signal.SIGCONT)
    for session in sessions:
        session.say(END)
        assert session.final().statistics.frames_out == 60
    wait_for(running, 0, "instance_channel_bytes_queued", **labels)


def test_personal_resources_are_counted(start: Start, wrapper: Write) -> None:
    """How many an engine has, and the bytes of their data; an engine without any has 0."""
    source = """
        from loader import Wrapper

        class Holder(Wrapper):
            def exec(self, request):
                return {"text": "x"}

            def load_resource(self, id, key, data, attributes):
                pass

            def unload_resource(self, id):
                pass
    """
    running = start(
        f"engines: {{holder: {{wrapper: {wrapper('holder', source)}}}, echo: {{wrapper: {wrapper('echo')}}}}}"
    )
    numbers = [
        running.admin.LoadResource(
            admin_pb2.LoadResourceRequest(engine="holder", key="a", data=bytes(size)), timeout=30
        ).id
        for size in (100, 20)
    ]
    found = Metrics(running)
    assert [found.value(name, engine="holder") for name in ("resources", "resource_bytes")] == [2, 120]
    assert [found.value(name, engine="echo") for name in ("resources", "resource_bytes")] == [0, 0]
    running.admin.UnloadResource(admin_pb2.UnloadResourceRequest(engine="holder", id=numbers[0]), timeout=30)
    found = Metrics(running)
    assert [found.value(name, engine="holder") for name in ("resources", "resource_bytes")] == [1, 20]


def test_fields_that_nobody_knows_are_counted(start: Start, wrapper: Write) -> None:
    """A client of a later version is served; what of it was passed over shows."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    assert Metrics(running).value("unknown_fields_total", engine="echo") == 0
    request = loader_pb2.ExecRequest(target=loader_pb2.Target(engine="echo"), frame=frame(1).frame)
    later = request.SerializeToString() + bytes([0xA0, 0x3F, 1])  # field 1012, a number
    call = running.channel.unary_unary("/loader.v1.LoaderService/Exec")
    assert call(later, timeout=20)
    wait_for(running, 1, "unknown_fields_total", engine="echo")

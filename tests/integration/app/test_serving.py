"""One command serves: the ready line, health, metrics, administration."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from running import Running, until

from loader.v1 import admin_pb2, frame_pb2, loader_pb2, loader_pb2_grpc

Start = Callable[..., Running]
Write = Callable[..., Path]


def get(running: Running, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{running.ready['http']}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_ready_line_names_what_answers(start: Start, wrapper: Write) -> None:
    """The addresses of the ready line serve at once."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    assert running.ready["pid"] == running.process.pid
    assert running.ready["engines"] == {"echo": "ready"}
    assert running.echo("echo", "grüße") == "grüße"
    assert get(running, "/healthz") == (200, "ok\n")
    status, body = get(running, "/readyz")
    assert (status, json.loads(body)) == (200, {"ready": True, "engines": {"echo": "ready"}})


def test_metrics_count_what_passed(start: Start, wrapper: Write) -> None:
    """/metrics and GetStatistics tell the same frames, by engine."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    for _ in range(3):
        running.echo("echo")

    def frames() -> list[str]:
        lines = get(running, "/metrics")[1].splitlines()
        return [line for line in lines if line.startswith('loader_frames_in_total{engine="echo"')]

    until(lambda: frames() and frames()[0].endswith(" 3.0"), "three frames in")
    values = running.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30).values
    assert values['loader_frames_in{engine="echo",version="1"}'] == 3
    assert 'loader_engine_state{engine="echo",state="ready",version="1"} 1.0' in get(running, "/metrics")[1]


def test_administration_lists_and_kills_sessions(start: Start, wrapper: Write) -> None:
    """An operator sees a session and closes it; its client learns why."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    listed = running.admin.ListSessions(admin_pb2.ListSessionsRequest(engine="echo"), timeout=30).sessions
    assert [row.session_id for row in listed] == [session.session_id]
    running.admin.KillSession(
        admin_pb2.KillSessionRequest(session_id=session.session_id, message="out"), timeout=30
    )
    final = session.final()
    assert final.reason == loader_pb2.CLOSE_REASON_KICKED
    assert final.error.name == "KICKED"


def test_killing_no_session_is_an_error(start: Start, wrapper: Write) -> None:
    """An unknown session is told, with the code of the table."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    with pytest.raises(grpc.RpcError) as caught:
        running.admin.KillSession(admin_pb2.KillSessionRequest(session_id="none"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "`none`" in caught.value.details()


def test_engines_are_listed_with_their_process(start: Start, wrapper: Write) -> None:
    """ListEngines tells state, process, slots and memory of each instance."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}, instances: 2, slots: 3}}}}")
    statuses = [running.instance("echo", index) for index in (0, 1)]
    assert {s.pid for s in statuses} == {p.pid for p in running.hosts()}
    assert {(s.state, s.slots, s.restarts) for s in statuses} == {("ready", 3, 0)}
    assert all(s.rss_bytes > 1 << 20 for s in statuses)


def test_output_becomes_log_lines_with_the_engines_name(start: Start, wrapper: Write) -> None:
    """What a wrapper prints is in the loader's log, said of its engine."""
    source = """
        import os
        from loader import Wrapper

        class Noisy(Wrapper):
            def exec(self, request):
                print("printed by python")
                os.write(2, b"written to 2\\n")
                return {"text": "x"}
    """
    running = start(f"engines: {{noisy: {{wrapper: {wrapper('noisy', source)}}}}}")
    running.echo("noisy")
    lines = until(
        lambda: len(running.log_lines("engine output")) >= 2 and running.log_lines("engine output"), "output"
    )
    assert {(line["engine"], line["line"]) for line in lines} == {
        ("noisy", "printed by python"),
        ("noisy", "written to 2"),
    }


def test_a_frame_passes_through_a_session(start: Start, wrapper: Write) -> None:
    """Open, a frame, its result, end, final with the reason."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    item = frame_pb2.Item(key="text", type=frame_pb2.ITEM_TYPE_TEXT, data=b"hi")
    session.say(loader_pb2.SessionRequest(frame=frame_pb2.Frame(items=[item])))
    assert next(session.call).result.items[0].data == b"hi"
    session.say(loader_pb2.SessionRequest(end=loader_pb2.End()))
    assert session.final().reason == loader_pb2.CLOSE_REASON_FINISHED


def test_every_counter_has_its_row_in_the_table(start: Start, wrapper: Write) -> None:
    """What the data plane counts is documented, with its kind."""
    from loader.admin.metric_table import METRICS

    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    running.echo("echo")
    values = running.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30).values
    names = {name.partition("{")[0].removeprefix("loader_").removesuffix("_bucket") for name in values}
    assert names - METRICS.keys() == set()


SINK = """
from loader import Session, Wrapper

class Sink(Wrapper):
    def create(self, params):
        return SinkSession()

class SinkSession(Session):
    def write(self, frame):
        return None
"""


def test_acks_nobody_reads_do_not_pile_up(start: Start, wrapper: Write) -> None:
    """A client that asks for acks and does not read gets the newest, not all: its queue is bounded."""
    frames = 20_000
    running = start(f"engines: {{sink: {{wrapper: {wrapper('sink', SINK)}}}}}")
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    with grpc.insecure_channel(running.ready["grpc"], options=narrow) as channel:
        all_sent = threading.Event()

        def requests() -> Iterator[loader_pb2.SessionRequest]:
            target = loader_pb2.Target(engine="sink")
            yield loader_pb2.SessionRequest(open=loader_pb2.Open(target=target, wants_acks=True))
            for _ in range(frames):
                yield loader_pb2.SessionRequest(frame=frame_pb2.Frame())
            all_sent.set()

        call = loader_pb2_grpc.LoaderServiceStub(channel).Session(requests(), timeout=60)
        assert all_sent.wait(50)
        acks = [response.ack.seq for response in call if response.HasField("ack")]
    assert acks == sorted(set(acks))
    assert acks[-1] == frames
    assert len(acks) < frames


STALLED = """
    import os, time
    from loader import Session, Wrapper

    class Stalled(Wrapper):
        def create(self, params):
            return StalledSession()

    class StalledSession(Session):
        def write(self, frame):
            end = time.monotonic() + 100
            while not os.path.exists(os.environ["GATE"]) and time.monotonic() < end:
                time.sleep(0.01)
"""


def test_a_cancel_overtakes_the_frames_that_wait(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """More frames than the engine's queue holds wait in front of it; the cancel ends the session before the engine has
    taken one."""
    gate = tmp_path / "gate"
    keys = f"wrapper: {wrapper('stalled', STALLED)}, environment: {{GATE: {gate}}}"
    running = start(f"engines: {{stalled: {{{keys}}}}}")
    session = running.open_session("stalled")
    empty = loader_pb2.SessionRequest(frame=frame_pb2.Frame())
    for _ in range(9000):  # the queue holds 8192; the window, 9362 of seven bytes
        session.say(empty)
    session.say(loader_pb2.SessionRequest(cancel=loader_pb2.Cancel()))
    final = session.final()
    gate.touch()
    assert final.reason == loader_pb2.CLOSE_REASON_CLIENT_CANCEL
    assert 8192 <= final.statistics.frames_in < 9000


def test_opened_says_the_limits_of_the_session(start: Start, wrapper: Write) -> None:
    """What was configured holds for this session and is told."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}, idle_timeout_s: 7.5}}}}")
    request = loader_pb2.SessionRequest(open=loader_pb2.Open(target=loader_pb2.Target(engine="echo")))
    call = running.engine.Session(iter([request]), timeout=20)
    opened = next(call).opened
    assert opened.limits.message_bytes == 4 * 1024 * 1024
    assert opened.limits.window_bytes == 64 * 1024
    assert opened.limits.idle_timeout_s == 7.5
    assert [message.WhichOneof("message") for message in call] == ["final"]

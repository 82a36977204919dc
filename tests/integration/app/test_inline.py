"""`isolation: inline`: engines in the loader's own process, on the data plane's threads or on their own.

The library is tests/cpp/server/inline_probe.c: what a call does is the key of its first item.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from running import END_S, Running, Session, until

from loader.v1 import admin_pb2, frame_pb2, loader_pb2

ROOT = Path(__file__).parents[3]
Start = Callable[..., Running]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """probe.so, which declares non_blocking, and blocks.so, which does not."""
    folder = tmp_path_factory.mktemp("inline")
    for name, flags in (("probe", []), ("blocks", ["-DPROBE_BLOCKS"])):
        built = folder / f"{name}.so"
        options = ["-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE", "-pthread"]
        source = ROOT / "tests/cpp/server/inline_probe.c"
        command = ["gcc", *options, *flags, "-I", str(ROOT / "cpp/include"), str(source), "-o", str(built)]
        subprocess.run(command, check=True, timeout=60)
    return folder


@pytest.fixture(params=[1, 3])
def probe(request: pytest.FixtureRequest, start: Start, folder: Path) -> Running:
    """A loader with the engine `probe`, inline and non_blocking, on that many shards."""
    return start(config(folder / "probe.so", f"data_plane_threads: {request.param}"))


def config(library: Path, service: str = "", engine: str = "") -> str:
    return (
        f"{service}\nengines:\n"
        f"  probe: {{wrapper: {library}, isolation: inline, slots: 64{engine and ', '}{engine}}}\n"
    )


def frame(key: str, data: bytes) -> frame_pb2.Frame:
    return frame_pb2.Frame(items=[frame_pb2.Item(key=key, data=data)])


def execute(running: Running, key: str, data: bytes = b"", timeout: float = 20) -> loader_pb2.ExecResponse:
    target = loader_pb2.Target(engine="probe")
    request = loader_pb2.ExecRequest(target=target, frame=frame(key, data))
    response: loader_pb2.ExecResponse = running.engine.Exec(request, timeout=timeout)
    return response


def write(session: Session, key: str, data: bytes = b"") -> None:
    session.say(loader_pb2.SessionRequest(frame=frame(key, data)))


def finish(session: Session) -> loader_pb2.Final:
    session.say(loader_pb2.SessionRequest(end=loader_pb2.End()))
    final: loader_pb2.Final = session.final()
    return final


def wait_destroyed(running: Running, reason: int, count: int = 1) -> None:
    """Until the engine has logged that many destroys with that reason; one more would fail the test."""
    told = f"destroyed for reason {reason}"
    until(lambda: running.log_text().count(told) >= count, told)
    assert running.log_text().count("destroyed for reason") == count


@pytest.mark.parametrize("size", [1, 1024, 100_000, 3 << 20])
def test_an_exec_needs_no_process(probe: Running, size: int) -> None:
    """What comes in goes out, from the loader's own process."""
    data = b"x" * size
    assert execute(probe, "echo", data).frames[0].items[0].data == data
    assert probe.hosts() == []
    assert probe.instance("probe").pid == 0


def test_a_result_of_the_engines_own_memory_arrives(probe: Running) -> None:
    """A large buffer that the engine allocated, sent without a copy."""
    assert len(execute(probe, "lent").frames[0].items[0].data) == 1 << 20


def test_a_thread_of_the_engine_may_answer_later(probe: Running) -> None:
    """PENDING, then results and finish from another thread: more than every window, in order."""
    request = loader_pb2.ExecStreamRequest(
        target=loader_pb2.Target(engine="probe"), frame=frame("later", b"2000")
    )
    responses = list(probe.engine.ExecStream(request, timeout=30))
    assert [response.result.seq for response in responses[:-1]] == list(range(1, 2001))
    assert responses[-1].final.reason == loader_pb2.CLOSE_REASON_FINISHED


def talk(running: Running, number: int, frames: int) -> None:
    def requests() -> Iterator[loader_pb2.SessionRequest]:
        yield loader_pb2.SessionRequest(open=loader_pb2.Open(target=loader_pb2.Target(engine="probe")))
        for i in range(frames):
            yield loader_pb2.SessionRequest(frame=frame("echo", b"%d/%d" % (number, i)))

    responses = list(running.engine.Session(requests(), timeout=60))
    got = [bytes(response.result.items[0].data) for response in responses if response.HasField("result")]
    assert got == [b"%d/%d" % (number, i) for i in range(frames)]
    assert responses[-1].final.reason == loader_pb2.CLOSE_REASON_FINISHED


def test_many_sessions_keep_their_order(probe: Running) -> None:
    """Each of many sessions gets its own frames back, in order, and is destroyed once."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: talk(probe, number, 100), range(48)))
    wait_destroyed(probe, loader_pb2.CLOSE_REASON_FINISHED, 48)
    until(lambda: probe.instance("probe").slots_used == 0, "every slot is free")


def test_a_cancelled_session_reaches_the_engine(probe: Running) -> None:
    """The client cancels while a call is PENDING: destroy, once, with the reason."""
    session = probe.open_session("probe")
    write(session, "never")
    session.call.cancel()
    wait_destroyed(probe, loader_pb2.CLOSE_REASON_CLIENT_CANCEL)


def test_a_deadline_ends_a_pending_call(probe: Running) -> None:
    """The loader's own clock ends it; the slot is free again."""
    requests = iter(
        [
            loader_pb2.SessionRequest(open=loader_pb2.Open(target=loader_pb2.Target(engine="probe"))),
            loader_pb2.SessionRequest(frame=frame("never", b"")),
        ]
    )
    call = probe.engine.Session(requests, timeout=3)
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    until(lambda: "destroyed for reason" in probe.log_text(), "destroy")
    until(lambda: probe.instance("probe").slots_used == 0, "the slot is free")


def test_an_operator_kills_a_session(probe: Running) -> None:
    """KillSession reaches client and engine."""
    session = probe.open_session("probe")
    probe.admin.KillSession(admin_pb2.KillSessionRequest(session_id=session.session_id), timeout=30)
    assert session.final().reason == loader_pb2.CLOSE_REASON_KICKED
    wait_destroyed(probe, loader_pb2.CLOSE_REASON_KICKED)


def test_sessions_finish_within_the_drain(start: Start, folder: Path) -> None:
    """After SIGTERM an open session goes on to its end; then the loader ends well."""
    running = start(config(folder / "probe.so", "drain_timeout_s: 30"))
    session = running.open_session("probe")
    running.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in running.log_text(), "the drain has begun")
    write(session, "echo", b"x")
    assert finish(session).reason == loader_pb2.CLOSE_REASON_FINISHED
    assert running.process.wait(END_S) == 0


def test_the_drain_timeout_destroys_what_is_open(start: Start, folder: Path) -> None:
    """Idle or with a PENDING call: closed with `drain`, destroyed once, exit code 0."""
    running = start(config(folder / "probe.so", "drain_timeout_s: 0.3\ndata_plane_threads: 3"))
    sessions = [running.open_session("probe") for _ in range(4)]
    write(sessions[0], "never")
    running.process.send_signal(signal.SIGTERM)
    for session in sessions:
        assert session.final().reason == loader_pb2.CLOSE_REASON_DRAIN
    assert running.process.wait(END_S) == 0
    wait_destroyed(running, loader_pb2.CLOSE_REASON_DRAIN, 4)


def test_a_call_that_never_finishes_is_hung_and_the_engine_comes_back(start: Start, folder: Path) -> None:
    """Its session ends with call_hung; the instance is started anew, in the same process."""
    limits = "call_timeout_ms: 2000, hang_grace_ms: 100"
    running = start(config(folder / "probe.so", engine=limits))
    session = running.open_session("probe")
    write(session, "never")
    assert session.final().reason == loader_pb2.CLOSE_REASON_CALL_HUNG
    until(lambda: running.instance("probe").restarts == 1, "a restart")
    until(lambda: running.instance("probe").state == "ready", "ready again")
    assert execute(running, "echo", b"x").frames[0].items[0].data == b"x"


def test_a_crash_is_the_loaders(start: Start, folder: Path) -> None:
    """What `inline` trusts: a segfault of the engine ends the loader, and the client is told."""
    running = start(config(folder / "probe.so"))
    with pytest.raises(grpc.RpcError) as caught:
        execute(running, "segfault")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert running.process.wait(END_S) == -signal.SIGSEGV


def test_an_inline_engine_that_blocks_holds_up_nobody_else(start: Start, folder: Path) -> None:
    """Without non_blocking its calls run on worker threads: other engines answer meanwhile."""
    running = start(
        config(folder / "blocks.so", engine="threads: 2")
        + f"  other: {{wrapper: {folder / 'probe.so'}, isolation: inline}}\n"
    )
    with ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(execute, running, "gate", b"x", 60)
        until(lambda: running.instance("probe").slots_used == 1, "the call has begun")
        try:
            for _ in range(20):
                assert running.echo("other", "x") == "x"
            assert not blocked.done()
        finally:
            execute(running, "open")
        assert blocked.result(60).frames[0].items[0].data == b"x"
    assert running.hosts() == []

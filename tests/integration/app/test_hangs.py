"""Engines that hang, and hosts that are stopped whole: who is told what, who may finish, what replaces them."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from freezing import freeze
from running import Running, until

from loader.client import Client, ClientSession
from loader.errors import CallHungError, LoaderError

Start = Callable[..., Running]
Write = Callable[..., Path]

LIMIT_S = 20

# "hang" never returns, "flood" is more than a stalled reader may have, "pid" tells the process; the rest is echoed.
ENGINE = """
    import os, threading
    from loader import Session, Wrapper

    class Engine(Wrapper):
        def exec(self, request):
            return {"pid": str(os.getpid())}

        def create(self, params):
            return EngineSession()

    class EngineSession(Session):
        def write(self, frame):
            text = frame["text"]
            if text == "hang":
                self.emit({"text": "hanging"})
                threading.Event().wait()
            if text == "flood":
                return ({"data": bytes(4096)} for _ in range(100))
            return {"text": str(os.getpid()) if text == "pid" else text}
"""


def configured(path: Path, **keys: object) -> str:
    engine = {"wrapper": str(path), "slots": 4, "threads": 4, "restart": {"backoff_s": 0.01}, **keys}
    return json.dumps({"engines": {"engine": engine}})


def opened(client: Client) -> ClientSession:
    """A session that has had one frame echoed."""
    session = client.session("engine", timeout_s=60)
    session.__enter__()
    echoed(session, "ready")
    return session


def echoed(session: ClientSession, text: str) -> None:
    session.write({"text": text})
    assert next(session.results())["text"] == text


def pid_of(session: ClientSession) -> int:
    """The process that serves it."""
    session.write({"text": "pid"})
    return int(next(session.results())["text"])


def finish(session: ClientSession) -> None:
    """Ends its input; nothing more comes, and it has finished."""
    session.end()
    assert list(session.results()) == []
    assert session.final is not None
    assert session.final.reason == "finished"


def failure_of(session: ClientSession) -> LoaderError:
    """How the session ends."""
    with pytest.raises(LoaderError) as caught:
        list(session.results())
    return caught.value


def replaced(running: Running, old_pid: int, index: int = 0) -> int:
    """Waits for the next process of an instance; its restarts."""

    def is_new() -> bool:
        now = running.instance("engine", index)
        return now.state == "ready" and now.pid != old_pid

    until(is_new, "the replacement is ready")
    assert not psutil.pid_exists(old_pid) or psutil.Process(old_pid).status() == psutil.STATUS_ZOMBIE
    return int(running.instance("engine", index).restarts)


def test_a_stopped_host_is_a_hang(start: Start, wrapper: Write) -> None:
    """SIGSTOP: no ping is answered; after host_timeout_ms and the grace its sessions end so, and it is replaced."""
    config = configured(
        wrapper("engine", ENGINE), host_timeout_ms=2_000, hang_grace_ms=300, call_timeout_ms=600_000
    )
    running = start(config)
    with Client(running.ready["grpc"]) as client:
        idle, waiting = opened(client), opened(client)
        pid = running.instance("engine").pid
        before_s = time.monotonic()
        freeze(pid)
        waiting.write({"text": "into the void"})
        for session in (idle, waiting):
            error = failure_of(session)
            assert isinstance(error, CallHungError)
            assert session.final is not None
            assert session.final.reason == "call_hung"
        assert time.monotonic() - before_s > 1
        assert replaced(running, pid) == 1
        [hung] = running.log_lines("instance hung")
        assert hung["pid"] == pid
        assert "2000 ms" in hung["reason"]
        assert pid_of(opened(client)) == running.instance("engine").pid


def test_a_host_that_is_stopped_for_a_moment_lives_on(start: Start, wrapper: Write) -> None:
    """Shorter than host_timeout_ms is no hang: the session goes on."""
    running = start(configured(wrapper("engine", ENGINE), host_timeout_ms=60_000))
    with Client(running.ready["grpc"]) as client:
        session = opened(client)
        host = psutil.Process(running.instance("engine").pid)
        freeze(host.pid)
        session.write({"text": "later"})
        host.send_signal(signal.SIGCONT)
        assert next(session.results())["text"] == "later"
        finish(session)
        assert (running.instance("engine").pid, running.instance("engine").restarts) == (host.pid, 0)


def test_a_stopped_host_that_comes_back_in_its_grace_is_replaced_all_the_same(
    start: Start, wrapper: Write
) -> None:
    """Declared hung is hung: its other sessions may finish, new ones go elsewhere, then it ends."""
    config = configured(wrapper("engine", ENGINE), host_timeout_ms=2_000, hang_grace_ms=20_000, instances=2)
    running = start(config)
    with Client(running.ready["grpc"]) as client:
        session = opened(client)
        pid = pid_of(session)
        index = next(i for i in (0, 1) if running.instance("engine", i).pid == pid)
        host = psutil.Process(pid)
        freeze(host.pid)
        until(lambda: running.log_lines("instance hung"), "the hang was noticed")
        host.send_signal(signal.SIGCONT)
        echoed(session, "in the grace")
        results = [client.exec("engine", {"x": "y"}, timeout_s=LIMIT_S) for _ in range(4)]
        assert {int(result["pid"]) for [result] in results} == {running.instance("engine", 1 - index).pid}
        finish(session)
        assert replaced(running, pid, index) == 1


def test_a_hung_call_ends_its_session_and_lets_the_others_finish(start: Start, wrapper: Write) -> None:
    """The hung one ends at call_timeout_ms; one that finishes in the grace finishes; the rest end with the host.

    The instance takes nothing new meanwhile, and its neighbour never notices.
    """
    config = configured(wrapper("engine", ENGINE), call_timeout_ms=2_000, hang_grace_ms=8_000, instances=2)
    running = start(config)
    with Client(running.ready["grpc"]) as client:
        sessions = [opened(client) for _ in range(6)]  # three of each instance, with a slot left over
        hanging, *rest = sessions
        pid = pid_of(hanging)
        [quick, late], neighbours = (
            [session for session in rest if (pid_of(session) == pid) is is_beside]
            for is_beside in (True, False)
        )
        before_s = time.monotonic()
        hanging.write({"text": "hang"})
        assert next(hanging.results())["text"] == "hanging"
        assert isinstance(failure_of(hanging), CallHungError)
        echoed(late, "in the grace")
        echoed(quick, "in the grace")
        finish(quick)
        results = [client.exec("engine", {"x": "y"}, timeout_s=LIMIT_S) for _ in range(4)]
        assert {int(result["pid"]) for [result] in results} == {pid_of(neighbours[0])}
        assert isinstance(failure_of(late), CallHungError)
        assert time.monotonic() - before_s > 9  # the grace was given
        [hung] = running.log_lines("instance hung")
        assert hung["pid"] == pid
        assert replaced(running, pid, hung["instance"]) == 1
        assert running.instance("engine", 1 - hung["instance"]).restarts == 0
        for session in neighbours:
            finish(session)


def test_what_is_open_after_the_grace_ends_with_the_host(start: Start, wrapper: Write) -> None:
    """A session beside the hung call that does not finish in hang_grace_ms is told the same reason."""
    running = start(configured(wrapper("engine", ENGINE), call_timeout_ms=2_000, hang_grace_ms=400))
    with Client(running.ready["grpc"]) as client:
        hanging, beside = opened(client), opened(client)
        pid = running.instance("engine").pid
        hanging.write({"text": "hang"})
        assert next(hanging.results())["text"] == "hanging"
        for session in (hanging, beside):
            assert isinstance(failure_of(session), CallHungError)
            assert session.final is not None
            assert session.final.reason == "call_hung"
        assert replaced(running, pid) == 1


def test_waiting_for_a_slow_reader_is_no_hang(start: Start, wrapper: Write) -> None:
    """A call that is blocked for credit longer than call_timeout_ms goes on when the client reads."""
    running = start(configured(wrapper("engine", ENGINE), call_timeout_ms=1_500))
    narrow = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024)]
    with Client(running.ready["grpc"], options=narrow) as client:
        session = opened(client)
        session.write({"text": "flood"})
        threading.Event().wait(4)  # the time that must not count: more than twice the limit
        session.end()
        assert sum("data" in result for result in session.results()) == 100
        assert running.instance("engine").restarts == 0

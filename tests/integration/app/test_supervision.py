"""Supervision: crashes, limits, restarts, giving up; other engines never notice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
from running import Running, until

from loader.v1 import loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]


def test_a_killed_host_is_replaced(start: Start, wrapper: Write) -> None:
    """The session dies with its host and is told so; the next one is served by a new process."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    before = running.instance("echo").pid
    psutil.Process(before).kill()
    assert session.final().reason == loader_pb2.CLOSE_REASON_HOST_DIED
    status = until(
        lambda: (s := running.instance("echo")).state == "ready" and s.restarts == 1 and s,
        "the replacement is ready",
    )
    assert status.pid != before
    assert running.echo("echo") == "hello"


def test_a_host_that_dies_of_any_signal_is_replaced(start: Start, wrapper: Write) -> None:
    """Most real-time signals have no name: the end is told by their number."""
    number = signal.SIGRTMIN + 3
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    psutil.Process(running.instance("echo").pid).send_signal(number)
    until(
        lambda: (s := running.instance("echo")).state == "ready" and s.restarts == 1,
        "the replacement is ready",
    )
    assert [line["how"] for line in running.log_lines("host ended")] == [f"killed by signal {number}"]


def test_an_engine_that_never_starts_is_given_up(start: Start, wrapper: Write) -> None:
    """Past the intensity the engine's state is failed, with the reason; its neighbour serves."""
    source = """
        import os
        from loader import Wrapper

        class Dead(Wrapper):
            def init(self, config):
                os._exit(7)

            def exec(self, request):
                return {"text": "x"}
    """
    running = start(
        f"""
engines:
  echo: {{wrapper: {wrapper("echo")}}}
  dead:
    wrapper: {wrapper("dead", source)}
    restart: {{intensity: 2, backoff_s: 0.01}}
"""
    )
    status = until(lambda: (s := running.instance("dead")).state == "failed" and s, "given up")
    assert status.restarts == 2
    assert "exit code 7" in status.error
    assert running.echo("echo") == "hello"
    assert running.instance("echo").restarts == 0


def test_an_init_that_raises_tells_its_error(start: Start, wrapper: Write) -> None:
    """The exception's type and message reach the operator."""
    source = """
        from loader import Wrapper

        class Broken(Wrapper):
            def init(self, config):
                raise ValueError("no model at /x")

            def exec(self, request):
                return {"text": "x"}
    """
    running = start(
        f"engines: {{broken: {{wrapper: {wrapper('broken', source)}, restart: {{intensity: 0}}}}}}"
    )
    status = until(lambda: (s := running.instance("broken")).state == "failed" and s, "given up")
    assert "no model at /x" in status.error


def test_an_endless_init_ends_at_its_timeout(start: Start, wrapper: Write) -> None:
    """init_timeout_s ends the process; the reason names the key."""
    source = """
        import threading
        from loader import Wrapper

        class Slow(Wrapper):
            def init(self, config):
                threading.Event().wait()

            def exec(self, request):
                return {"text": "x"}
    """
    path = wrapper("slow", source)
    running = start(f"engines: {{slow: {{wrapper: {path}, init_timeout_s: 0.5, restart: {{intensity: 0}}}}}}")
    status = until(lambda: (s := running.instance("slow")).state == "failed" and s, "given up")
    assert "init" in status.error


def test_growing_beyond_the_memory_limit_stops_the_instance(start: Start, wrapper: Write) -> None:
    """Resident memory is sampled; the instance over the limit is stopped and replaced."""
    source = """
        import threading
        from loader import Wrapper

        class Hungry(Wrapper):
            def exec(self, request):
                self.kept = b"x" * (300 << 20)
                threading.Event().wait()
    """
    path = wrapper("hungry", source)
    running = start(f"engines: {{hungry: {{wrapper: {path}, memory_limit_bytes: {200 << 20}}}}}")
    before = running.instance("hungry").pid
    call = running.engine.Exec.future(
        loader_pb2.ExecRequest(target=loader_pb2.Target(engine="hungry")), timeout=30
    )
    status = until(
        lambda: (s := running.instance("hungry")).state == "ready" and s.pid != before and s,
        "the replacement is ready",
    )
    assert status.restarts == 1
    assert running.log_lines("memory limit")[0]["limit_bytes"] == 200 << 20
    assert call.exception(timeout=40) is not None


def test_a_flood_of_output_is_dropped_and_counted(start: Start, wrapper: Write) -> None:
    """The loader goes on serving; the log holds about a MiB a second and says what is missing."""
    source = """
        from loader import Wrapper

        class Flood(Wrapper):
            def exec(self, request):
                line = "z" * 999
                for _ in range(50_000):
                    print(line)
                return {"text": "done"}
    """
    running = start(f"engines: {{flood: {{wrapper: {wrapper('flood', source)}}}}}")
    assert running.echo("flood") == "done"
    assert len(running.log_text()) < 40 << 20
    restarts = running.instance("flood").restarts
    assert restarts == 0

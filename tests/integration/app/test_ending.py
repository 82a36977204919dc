"""Ending: drain, second signal, exit codes, and nothing left behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from running import END_S, Running, command, processes_of, until

from loader.v1 import admin_pb2, loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]


def test_a_signal_ends_with_0_and_leaves_nothing(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """SIGTERM without open sessions: exit code 0, no process left."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    hosts = running.hosts()
    assert hosts
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(END_S) == 0
    assert not list(processes_of(tmp_path))


STOPS = 20


def test_hosts_that_are_stopped_exit_by_themselves(start: Start, wrapper: Write) -> None:
    """A clean stop is told as one: every host with exit code 0, none as killed."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}, instances: {STOPS}}}}}")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(END_S) == 0
    assert [line["how"] for line in running.log_lines("host ended")] == ["exit code 0"] * STOPS


def test_a_clean_stop_leaves_no_grandchild(start: Start, wrapper: Write) -> None:
    """The host exits by itself; what it had started is killed."""
    source = """
        import subprocess, sys
        from loader import Wrapper

        class Parent(Wrapper):
            def init(self, config):
                self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", __file__])

            def exec(self, request):
                return {"text": "x"}
    """
    running = start(f"engines: {{parent: {{wrapper: {wrapper('parent', source)}}}}}")
    family = running.hosts()
    assert len(family) == 2
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(END_S) == 0
    assert [line["how"] for line in running.log_lines("host ended")] == ["exit code 0"]
    _, alive = psutil.wait_procs(family, timeout=END_S)
    assert not alive


def test_open_sessions_finish_within_the_drain(start: Start, wrapper: Write) -> None:
    """After SIGTERM an open session goes on to its own end, and whoever routes work here is told to stop."""
    running = start(f"drain_timeout_s: 30\nengines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    health = health_pb2_grpc.HealthStub(running.channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    assert readiness(running) == 200
    running.process.send_signal(signal.SIGTERM)
    assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert readiness(running) == 503
    health.cancel()
    session.say(loader_pb2.SessionRequest(end=loader_pb2.End()))
    assert session.final().reason == loader_pb2.CLOSE_REASON_FINISHED
    assert running.process.wait(END_S) == 0


def readiness(running: Running) -> int:
    """The status of /readyz."""
    try:
        with urllib.request.urlopen(f"http://{running.ready['http']}/readyz", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_what_is_open_at_the_drain_timeout_is_closed_with_its_reason(start: Start, wrapper: Write) -> None:
    """A session that does not end is told `drain`."""
    running = start(f"drain_timeout_s: 0.3\nengines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    running.process.send_signal(signal.SIGTERM)
    assert session.final().reason == loader_pb2.CLOSE_REASON_DRAIN
    assert running.process.wait(END_S) == 0


def test_a_second_signal_ends_at_once(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """The second signal does not wait for the drain; the exit code says so."""
    running = start(f"drain_timeout_s: 600\nengines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    held = running.open_session("echo")  # dropped, the call would cancel itself
    running.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in running.log_text(), "the drain has begun")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(END_S) == 5
    until(lambda: not list(processes_of(tmp_path)), "no process is left")
    held.call.cancel()


def test_a_drain_by_administration_ends_the_loader(start: Start, wrapper: Write) -> None:
    """Drain says how many sessions are open, and ends like a signal."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    answer = running.admin.Drain(admin_pb2.DrainRequest(timeout_s=0.3), timeout=30)
    assert answer.open_sessions == 1
    assert session.final().reason == loader_pb2.CLOSE_REASON_DRAIN
    assert running.process.wait(END_S) == 0


def test_no_orphan_when_the_loader_is_killed(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """SIGKILL of the loader: hosts and their children are gone within seconds."""
    source = """
        import subprocess, sys
        from loader import Wrapper

        class Parent(Wrapper):
            def init(self, config):
                self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", __file__])

            def exec(self, request):
                return {"text": "x"}
    """
    running = start(f"engines: {{parent: {{wrapper: {wrapper('parent', source)}}}}}")
    family = running.hosts()
    assert len(family) == 2
    running.process.kill()
    running.process.wait(END_S)
    _, alive = psutil.wait_procs(family, timeout=END_S)
    assert not alive


def refused(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def test_a_bad_configuration_ends_with_3(tmp_path: Path) -> None:
    """The mistake is named with its line, and nothing was started."""
    file = tmp_path / "bad.yaml"
    file.write_text("engines:\n  a:\n    wrapper: x.py\n    slot: 3\n")
    code, said = refused("--config", str(file))
    assert code == 3
    assert f"{file}:4: engines.a.slot: unknown key: did you mean `slots`?" in said
    assert "Traceback" not in said


def test_a_missing_wrapper_ends_with_3(tmp_path: Path) -> None:
    """A wrapper that is not there is a mistake of the configuration."""
    file = tmp_path / "bad.yaml"
    file.write_text("engines: {a: {wrapper: nowhere}}\n")
    code, said = refused("--config", str(file))
    assert code == 3
    assert str(tmp_path / "nowhere") in said


def test_a_wrong_command_line_ends_with_2() -> None:
    """As every command does."""
    assert refused("--nonsense")[0] == 2


@pytest.mark.parametrize("shares", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("port", ["grpc", "http"])
def test_a_taken_address_ends_with_4(port: str, shares: bool, wrapper: Write, tmp_path: Path) -> None:
    """The address is named; the hosts that were started are gone. Also where the other one shares its port."""
    file = tmp_path / "good.yaml"
    file.write_text(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    with socket.create_server(("127.0.0.1", 0), reuse_port=shares) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        both = {"grpc": "127.0.0.1:0", "http": "127.0.0.1:0", port: address}
        code, said = refused("--config", str(file), "--grpc", both["grpc"], "--http", both["http"])
    assert code == 4
    assert address in said
    until(lambda: not list(processes_of(tmp_path)), "no host is left")


def test_new_sessions_are_refused_while_draining(start: Start, wrapper: Write) -> None:
    """A drain says `retry elsewhere`."""
    running = start(f"drain_timeout_s: 30\nengines: {{echo: {{wrapper: {wrapper('echo')}, slots: 2}}}}")
    session = running.open_session("echo")
    running.process.send_signal(signal.SIGTERM)

    def refusal() -> grpc.StatusCode | None:
        try:
            running.echo("echo")
        except grpc.RpcError as error:
            return error.code()
        return None  # the drain has not reached the data plane yet

    assert until(refusal, "a call is refused") is grpc.StatusCode.UNAVAILABLE
    session.say(loader_pb2.SessionRequest(end=loader_pb2.End()))
    session.final()

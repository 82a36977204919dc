"""Signals, administration and revisions at awkward moments, and what a loader cannot have: nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import psutil
import pytest
from running import END_S, Running, command, until

from loader.v1 import admin_pb2, admin_pb2_grpc, frame_pb2, loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]

# Its init waits for a file where its configuration names one.
GATED = """
    import time
    from pathlib import Path
    from loader import Session, Wrapper

    class Gated(Wrapper):
        def init(self, config):
            gate = config.get("gate")
            with open(config["inits"], "a") as inits:
                inits.write("x")
            while gate and not Path(gate).exists():
                time.sleep(0.01)
            if config.get("fails"):
                raise RuntimeError("no model here")

        def exec(self, request):
            return {"text": request["text"]}

        def create(self, params):
            return Session()

        def load_resource(self, id, key, data, attributes):
            pass

        def unload_resource(self, id):
            pass
"""


@pytest.fixture
def gated(wrapper: Write, tmp_path: Path) -> Callable[..., str]:
    """A configuration with the gated engine."""
    path = wrapper("gated", GATED)

    def text(gate: str = "", more: str = "", engine: str = "", fails: bool = False) -> str:
        config = f"{{inits: {tmp_path}/inits, gate: '{gate and tmp_path / gate}', fails: {fails}}}"
        return f"{more}\nengines:\n  gated: {{wrapper: {path}, config: {config}{engine}}}\n"

    return text


def states(running: Running) -> list[tuple[str, str]]:
    """What was said of revisions, with the reason."""
    return [(line["state"], line["error"]) for line in running.log_lines("configuration")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_waits_for_its_center_ends_with_0(number: signal.Signals, tmp_path: Path) -> None:
    """Nothing was started: the first process of a container, which has no signal's default, ends as well."""
    with socket.create_server(("127.0.0.1", 0)) as center:
        center.settimeout(END_S)
        file = tmp_path / "node.yaml"
        file.write_text(f"center: consul://127.0.0.1:{center.getsockname()[1]}/speech\n")
        with subprocess.Popen(command("--config", str(file)), stderr=subprocess.PIPE, text=True) as process:
            asked, _ = center.accept()
            process.send_signal(number)
            _, said = process.communicate(timeout=END_S)
            asked.close()
    assert process.returncode == 0
    assert "stopped before anything was started" in said


def test_the_end_does_not_wait_for_what_hangs(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """An interpreter that never answers is looked at by a thread, which nothing can end; it is ended itself."""
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    hanging.chmod(0o755)
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    running.file.write_text(f"engines: {{echo: {{wrapper: {wrapper('echo')}, python: {hanging}}}}}")
    pid = until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "it hangs")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(END_S) == 0
    until(lambda: not psutil.pid_exists(int(pid)), "the interpreter has ended")


@pytest.mark.parametrize("output", ["closed", "unread"])
def test_nobody_has_to_read_the_ready_line(output: str, wrapper: Write, tmp_path: Path) -> None:
    """It serves all the same."""
    file = tmp_path / "service.yaml"
    file.write_text(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    words = command("--config", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    reader, writer = os.pipe()
    os.close(reader)
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"] if output == "closed" else []
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen([*shell, *words], stdout=writer, stderr=errors)
    os.close(writer)
    try:
        until(
            lambda: '"event": "configuration"' in log.read_text() or process.poll() is not None, "it serves"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait(END_S)


def test_a_cache_that_cannot_be_does_not_silence_the_loader(
    start: Start, wrapper: Write, tmp_path: Path
) -> None:
    """What became of the configuration is told to the center."""
    center = tmp_path / "center"
    center.mkdir()
    (center / "service.yaml").write_text(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    (tmp_path / "no-folder").write_text("")
    start(f"center: file:{center}\nnode: a\ncache: {tmp_path}/no-folder\n")
    said = center / ".loader" / "acknowledgements" / "a.json"
    assert (
        until(lambda: said.exists() and json.loads(said.read_text()), "it has said so")["state"] == "applied"
    )


def test_requests_of_administration_that_are_none_are_refused(start: Start, wrapper: Write) -> None:
    """By whoever sends them, and with what is wrong; nothing happens."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    session = running.open_session("echo")
    for seconds in (float("nan"), float("inf"), -1.0):
        with pytest.raises(grpc.RpcError, match="timeout_s is") as refused:
            running.admin.Drain(admin_pb2.DrainRequest(timeout_s=seconds), timeout=20)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for method in ("Drain", "ListSessions", "LoadResource"):
        call = running.channel.unary_unary(f"/loader.v1.AdminService/{method}")
        with pytest.raises(grpc.RpcError, match="the request is not one") as broken:
            call(b"\xff\xff\xff", timeout=20)
        assert broken.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    session.write("still here")
    assert session.result() == "still here"
    session.end()


def test_a_drain_during_the_start_holds_until_it_is_taken_back(
    start: Start, gated: Callable[..., str], tmp_path: Path
) -> None:
    """That the engines have become ready does not end it."""
    socket_file = tmp_path / "admin"
    drained: list[object] = []

    def drain() -> None:
        with grpc.insecure_channel(f"unix:{socket_file}") as channel:
            admin = admin_pb2_grpc.AdminServiceStub(channel)

            def ask() -> bool:
                try:
                    admin.Drain(admin_pb2.DrainRequest(stay=True), timeout=5)
                except grpc.RpcError:
                    return False  # it is not there yet, or still starting
                return True

            drained.append(until(ask, "it drains", 60))
        (tmp_path / "gate").touch()

    draining = threading.Thread(target=drain)
    draining.start()
    running = start(gated("gate", f"admin_listen: unix:{socket_file}"))
    draining.join(END_S)
    assert drained
    assert running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=20).is_draining
    with pytest.raises(grpc.RpcError):
        running.echo("gated")
    running.admin.Undrain(admin_pb2.UndrainRequest(), timeout=20)
    assert not running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=20).is_draining
    assert running.echo("gated") == "hello"


def test_a_drain_and_its_end_hold_when_they_are_answered(start: Start, wrapper: Write) -> None:
    """Also where the registry hangs while the node withdraws."""
    with socket.create_server(("127.0.0.1", 0)) as registry:
        registry.settimeout(END_S)
        url = f"consul://127.0.0.1:{registry.getsockname()[1]}/speech"
        running = start(f"registry: {url}\nengines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
        told, _ = registry.accept()
        running.admin.Drain(admin_pb2.DrainRequest(stay=True), timeout=20)
        with pytest.raises(grpc.RpcError):
            running.echo("echo")
        running.admin.Undrain(admin_pb2.UndrainRequest(), timeout=20)
        assert running.echo("echo") == "hello"
        drain = running.admin.Drain.future(admin_pb2.DrainRequest(stay=True), timeout=20)
        until(lambda: len(running.log_lines("draining")) == 2, "it withdraws again")
        running.admin.Undrain(admin_pb2.UndrainRequest(), timeout=20)
        drain.result()
        assert running.echo("echo") == "hello"
        assert not running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=20).is_draining
        ending = running.admin.Drain.future(admin_pb2.DrainRequest(), timeout=20)
        until(lambda: len(running.log_lines("draining")) == 3, "it ends")
        with pytest.raises(grpc.RpcError, match="the loader ends"):
            running.admin.Undrain(admin_pb2.UndrainRequest(), timeout=20)
        ending.result()
        told.close()
        assert running.process.wait(END_S) == 0


UNDISTURBED_S = 3.0  # in which a rollout that was disturbed would say so


def test_a_center_that_stumbles_does_not_undo_the_rollout_of_what_it_holds(
    start: Start, gated: Callable[..., str], tmp_path: Path
) -> None:
    """The same revision again is no newer one."""
    running = start(gated())
    running.file.write_text(gated("gate"))
    until(lambda: ("applying", "") in states(running), "it is on its way")
    running.file.write_bytes(b"\xff")
    until(lambda: running.log_lines("center"), "it cannot be read")
    running.file.write_text(gated("gate"))
    with pytest.raises(AssertionError):
        until(lambda: "rolled_back" in running.log_text(), "it was undone", UNDISTURBED_S)
    (tmp_path / "gate").touch()
    until(lambda: [state for state, _ in states(running)].count("applied") == 2, "it serves")
    assert [state for state, _ in states(running)].count("applying") == 1
    assert (tmp_path / "inits").read_text() == "xx"


def test_the_center_hears_what_became_of_a_rollout_that_the_end_cuts(
    start: Start, gated: Callable[..., str], tmp_path: Path
) -> None:
    """Not `applying` for ever."""
    running = start(gated(more="node: a"))
    running.file.write_text(gated("gate", more="node: a"))
    until(lambda: (tmp_path / "inits").read_text() == "xx", "it is on its way")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(END_S) == 0
    said = next(tmp_path.glob(".loader/*/acknowledgements/a.json"))
    last = json.loads(said.read_text())
    assert (last["state"], last["error"]) == ("rolled_back", "the loader ends")


def test_a_resource_for_an_engine_that_is_replaced_in_place_comes_too_early(
    start: Start, gated: Callable[..., str]
) -> None:
    """Its caller is told to ask again, not that there is no such engine; what was loaded stays."""
    running = start(gated(engine=", replace: in_place"))
    load = running.admin.LoadResource
    first = load(admin_pb2.LoadResourceRequest(engine="gated", key="a", data=b"a"), timeout=20).id
    session = running.open_session("gated")
    running.file.write_text(gated(engine=", replace: in_place, instances: 2"))
    until(lambda: ("applying", "") in states(running), "it is on its way")
    until(
        lambda: (
            not any(
                one.is_routed
                for one in running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=20).engines
            )
        ),
        "the old one leaves",
    )
    with pytest.raises(grpc.RpcError) as early:
        load(admin_pb2.LoadResourceRequest(engine="gated", key="b", data=b"b"), timeout=20)
    assert early.value.code() is grpc.StatusCode.UNAVAILABLE
    session.end()
    until(lambda: [state for state, _ in states(running)].count("applied") == 2, "it serves")
    held = running.admin.ListResources(admin_pb2.ListResourcesRequest(engine="gated"), timeout=20).resources
    assert [(one.id, one.key, len(one.instances)) for one in held] == [(first, "a", 2)]


AHEAD_S = 0.5  # the main thread may be ahead of the data plane by so much, and more


def test_why_a_host_ended_is_told_though_the_data_plane_says_it_late(
    start: Start, gated: Callable[..., str], tmp_path: Path
) -> None:
    """The operating system tells the end first: nothing is concluded, and nothing started again, without the reason."""
    library = tmp_path / "sleeper.so"
    options = ["-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE"]
    source = Path(__file__).parent / "sleeper.c"
    include = Path(__file__).parents[3] / "cpp" / "include"
    subprocess.run(["gcc", *options, "-I", include, source, "-o", library], check=True, timeout=60)
    sleeper = f"  sleeper: {{wrapper: {library}, isolation: inline}}\n"
    running = start(gated(more="data_plane_threads: 1") + sleeper)
    running.file.write_text(gated("gate", "data_plane_threads: 1", fails=True) + sleeper)
    until(lambda: (tmp_path / "inits").read_text() == "xx", "the new one initialises")
    item = frame_pb2.Item(key="path", type=frame_pb2.ITEM_TYPE_TEXT, data=f"{tmp_path}/it".encode())
    request = loader_pb2.ExecRequest(
        target=loader_pb2.Target(engine="sleeper"), frame=frame_pb2.Frame(items=[item])
    )
    sleeping = running.engine.Exec.future(request, timeout=60)
    until((tmp_path / "it.asleep").exists, "the data plane stands still")
    (tmp_path / "gate").touch()
    until(lambda: running.log_lines("host ended"), "its host has ended")
    with pytest.raises(AssertionError):
        until(lambda: "rolled_back" in running.log_text(), "something is concluded", AHEAD_S)
    (tmp_path / "it.awake").touch()
    sleeping.result()
    state, error = until(lambda: (last := states(running)[-1])[0] == "rolled_back" and last, "it was undone")
    assert (state, "failed at init" in error, "no model here" in error) == ("rolled_back", True, True), error

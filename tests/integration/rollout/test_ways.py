"""The ways of a rollout: in place, beside the old, updated, coalesced, superseded, cut by the end of the loader."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import grpc
import pytest
from freezing import freeze
from load import Load
from running import END_S, Running, runs, until
from versioned import UPDATING
from watching import alone, change, deployments, ended, open_at, rollouts, version_of, wait_for_step

from loader.client import Client
from loader.client.watching import NO_NODE_S
from loader.engine.deployment import FINI_S
from loader.v1 import loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]
ECHO = loader_pb2.Target(engine="echo")


def config(wrapper: Path, version: str, keys: str = "", service: str = "", **inner: object) -> str:
    values = json.dumps({"says": version, **inner})
    return (
        f"{service}\nengines:\n  echo:\n    wrapper: {wrapper}\n    version: '{version}'\n"
        f"    config: {values}\n    {keys}\n"
    )


# ---- in place

IN_PLACE = "replace: in_place\n    replace_wait_ms: "


def test_in_place_new_sessions_wait_and_are_admitted(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """The old one ends first; who comes meanwhile gets the new one, and notices only the time."""
    gate = tmp_path / "gate"
    running = start(config(wrapper(), "1", IN_PLACE + "20000"))
    before = rollouts(running)[0]
    running.rewrite(config(wrapper(), "2", IN_PLACE + "20000", fault={"at": "init", "gate": str(gate)}))
    until(lambda: (tmp_path / "gate.reached").exists(), "the new one initialises")
    assert len(running.hosts()) == 1, "the old one has ended before"
    waiting = [open_at(running, ECHO) for _ in range(5)]
    gone = open_at(running, ECHO)
    gone.call.cancel()
    impatient = running.engine.Session(
        iter([loader_pb2.SessionRequest(open=loader_pb2.Open(target=ECHO))]), timeout=0.3
    )
    with pytest.raises(grpc.RpcError) as caught:
        list(impatient)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    gate.touch()
    for session in waiting:
        assert next(session.call).opened.engine_version == "2"
        session.write("a")
        assert session.result() == "2:a"
        assert session.end().reason == loader_pb2.CLOSE_REASON_FINISHED
    assert ended(running, before).state == "applied"


def test_in_place_nobody_waits_for_ever(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """At replace_wait_ms the caller is sent elsewhere; the engine serves again when it can."""
    gate = tmp_path / "gate"
    running = start(config(wrapper(), "1", IN_PLACE + "300"))
    running.rewrite(config(wrapper(), "2", IN_PLACE + "300", fault={"at": "init", "gate": str(gate)}))
    until(lambda: (tmp_path / "gate.reached").exists(), "the new one initialises")
    with pytest.raises(grpc.RpcError) as caught:
        list(open_at(running, ECHO).call)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "is being replaced" in str(caught.value.details())
    gate.touch()
    until(lambda: rollouts(running)[0].state == "applied", "it was applied")
    assert version_of(running, engine="echo") == "2"


def test_in_place_a_new_one_that_fails_gives_way_to_the_old(start: Start, wrapper: Write) -> None:
    """The old configuration is started again, and who waited meanwhile gets it."""
    keys = IN_PLACE + "20000\n    slots: 10"
    running = start(config(wrapper(), "1", keys))
    with Load(running.ready["grpc"], 5) as load:
        record = change(running, config(wrapper(), "2", keys, fault={"at": "warm_up"}))
        assert record.state == "rolled_back"
        assert any("start echo 1 again" in step for step in record.steps)
        assert version_of(running, engine="echo") == "1"
    assert load.failures == []
    assert set(load.versions) == {"1"}
    alone(running)


def test_two_engines_in_place_hold_both(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """The second one's turn does not let go of those that wait for the first."""
    gate = tmp_path / "gate"

    def both(version: str, **fault: object) -> str:
        one = f"wrapper: {wrapper()}, version: '{version}', replace: in_place"
        inner = json.dumps({"says": version})
        blocked = json.dumps({"says": version, "fault": fault})
        return f"engines: {{a: {{{one}, config: {inner}}}, b: {{{one}, config: {blocked}}}}}"

    running = start(both("1"))
    running.rewrite(both("2", at="init", gate=str(gate)))
    until(lambda: (tmp_path / "gate.reached").exists(), "the second one initialises")
    waiting = [open_at(running, loader_pb2.Target(engine=name)) for name in "ab"]
    gate.touch()
    for session in waiting:
        assert next(session.call).opened.engine_version == "2"
        session.end()


def test_in_place_clients_of_a_registry_wait_too(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """The only node that has it stays announced, full and ready for work: who asks by name or by capability waits
    longer than for what nobody has."""
    gate = tmp_path / "gate"
    registry = f"file:{tmp_path}/registry"
    keys = IN_PLACE + "20000\n    capabilities: {type: asr}"
    running = start(config(wrapper(), "1", keys, f"registry: {registry}"))
    fault = {"at": "init", "gate": str(gate)}
    with Client(registry) as client, ThreadPoolExecutor() as pool:

        def opened(**which: Any) -> str:
            with client.session(timeout_s=30, **which) as session:
                return session.opened.engine_version

        assert opened(target="echo") == "1"
        running.rewrite(config(wrapper(), "2", keys, f"registry: {registry}", fault=fault))
        until(lambda: (tmp_path / "gate.reached").exists(), "the new one initialises")
        until(lambda: [one.slots_free for one in client.nodes[0].engines] == [0], "it is told to be full")
        with urllib.request.urlopen(f"http://{running.ready['http']}/readyz", timeout=30) as answer:
            assert json.load(answer) == {"ready": True, "engines": {"echo": "starting"}}
        waiting = [pool.submit(opened, target="echo"), pool.submit(opened, selector={"type": "asr"})]
        done, _ = wait(waiting, timeout=NO_NODE_S + 1, return_when=FIRST_COMPLETED)
        assert not done, done
        gate.touch()
        assert [one.result(30) for one in waiting] == ["2", "2"]


# ---- beside the old


def test_surge_never_has_fewer_slots(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """While the new one initialises the old one takes every session; the flip leaves the open ones where they are."""
    gate = tmp_path / "gate"
    running = start(config(wrapper(), "1", "slots: 2"))
    held = running.open_session("echo")
    running.rewrite(config(wrapper(), "2", "slots: 2", fault={"at": "init", "gate": str(gate)}))
    until(lambda: (tmp_path / "gate.reached").exists(), "the new one initialises")
    assert version_of(running, engine="echo") == "1"
    gate.touch()
    until(lambda: rollouts(running)[0].state == "applied", "it was applied")
    both = [open_at(running, ECHO) for _ in range(2)]
    assert [next(one.call).opened.engine_version for one in both] == ["2", "2"]
    held.write("a")
    assert held.result() == "1:a"
    assert held.end().reason == loader_pb2.CLOSE_REASON_FINISHED
    for one in both:
        one.end()
    alone(running)


def test_sessions_in_the_queue_of_the_old_one_still_get_its_slots(start: Start, wrapper: Write) -> None:
    """A flip does not lose who waited before it."""
    keys = "slots: 1\n    admission_wait_ms: 20000"
    running = start(config(wrapper(), "1", keys))
    held = running.open_session("echo")
    queued = [open_at(running, ECHO) for _ in range(3)]
    until(lambda: deployments(running)[0].open_sessions == 4, "they wait")
    assert change(running, config(wrapper(), "2", keys)).state == "applied"
    assert held.end().reason == loader_pb2.CLOSE_REASON_FINISHED
    for session in queued:
        assert next(session.call).opened.engine_version == "1"
        assert session.end().reason == loader_pb2.CLOSE_REASON_FINISHED
    assert version_of(running, engine="echo") == "2"
    alone(running)


def test_at_the_drain_timeout_sessions_are_closed_as_replaced(start: Start, wrapper: Write) -> None:
    """Also those that still wait for a slot of the old one."""
    keys = "slots: 1\n    admission_wait_ms: 60000\n    drain_timeout_s: 0.5"
    running = start(config(wrapper(), "1", keys))
    held = running.open_session("echo")
    queued = open_at(running, ECHO)
    until(lambda: deployments(running)[0].open_sessions == 2, "it waits")
    assert change(running, config(wrapper(), "2", keys)).state == "applied"
    assert held.final().reason == loader_pb2.CLOSE_REASON_REPLACED
    # It got the slot that the other one had to leave, or the end of the queue.
    assert queued.final().reason == loader_pb2.CLOSE_REASON_REPLACED
    alone(running)


def test_memory_that_came_back_is_told(start: Start, wrapper: Write) -> None:
    """In the rollout's steps and the log: what the old host held."""
    running = start(config(wrapper(), "1", ballast_bytes=64 << 20))
    change(running, config(wrapper(), "2"))
    alone(running)
    wait_for_step(running, "echo 1 has ended")
    [told] = running.log_lines("deployment ended")
    assert told["rss_bytes_returned"] > 64 << 20


# ---- update


def test_an_update_is_taken_by_the_running_process(start: Start, wrapper: Write) -> None:
    """No new process, and the open session hears the new configuration."""
    path = wrapper("updating", UPDATING)
    running = start(config(path, "1", "instances: 2"))
    before = {host.pid for host in running.hosts()}
    session = running.open_session("echo")
    record = change(running, config(path, "1", "instances: 2").replace('"says": "1"', '"says": "new"'))
    assert record.state == "applied"
    assert any("update echo 1" in step for step in record.steps)
    session.write("a")
    assert session.result() == "new:a"
    session.end()
    assert {host.pid for host in running.hosts()} == before


@pytest.mark.parametrize("keys", ["", "replace: in_place"])
def test_a_refused_update_becomes_a_replacement(keys: str, start: Start, wrapper: Write) -> None:
    """The steps say what the wrapper said."""
    path = wrapper("updating", UPDATING)
    running = start(config(path, "1", keys))
    before = running.instance("echo").pid
    wanted = config(path, "1", keys, fault={"at": "update"}).replace('"says": "1"', '"says": "new"')
    record = change(running, wanted)
    assert record.state == "applied", record
    assert any("no good at update; replace echo 1" in step for step in record.steps), record.steps
    session = running.open_session("echo")
    session.write("a")
    assert session.result() == "new:a"
    session.end()
    alone(running)
    assert running.instance("echo").pid != before


# ---- which one


def test_changes_that_arrive_together_are_one(start: Start, wrapper: Write) -> None:
    """Of ten within a moment only the last is applied whole."""
    running = start(config(wrapper(), "1", "queue_limit: 1"))
    before = rollouts(running)[0]
    freeze(running.process.pid)  # so that it is a moment for the loader, however long it takes here
    for number in range(2, 12):
        running.rewrite(config(wrapper(), "1", f"queue_limit: {number}"))
    running.process.send_signal(signal.SIGCONT)
    ended(running, before)
    until(lambda: rollouts(running)[0].state == "applied", "the last is applied")
    assert len(rollouts(running)) <= 4, [one.state for one in rollouts(running)]


def test_a_newer_revision_supersedes_one_that_hangs(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """The hanging host is gone at once, the newest serves, and both records say what happened."""
    gate = tmp_path / "gate"
    running = start(config(wrapper(), "1"))
    running.rewrite(config(wrapper(), "2", fault={"at": "init", "gate": str(gate)}))
    until(lambda: (tmp_path / "gate.reached").exists(), "the hanging one initialises")
    before = rollouts(running)[0]
    record = change(running, config(wrapper(), "3"))
    assert record.state == "applied"
    hanging = next(one for one in rollouts(running) if one.revision == before.revision)
    assert (hanging.state, hanging.error) == ("rolled_back", f"superseded by {record.revision}")
    assert version_of(running, engine="echo") == "3"
    alone(running)


def test_a_newer_revision_supersedes_one_in_place(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """Whoever waits goes on waiting until something serves."""
    gate = tmp_path / "gate"
    running = start(config(wrapper(), "1", IN_PLACE + "20000"))
    running.rewrite(config(wrapper(), "2", IN_PLACE + "20000", fault={"at": "init", "gate": str(gate)}))
    until(lambda: (tmp_path / "gate.reached").exists(), "the hanging one initialises")
    waiting = open_at(running, ECHO)
    running.rewrite(config(wrapper(), "3", IN_PLACE + "20000"))
    assert next(waiting.call).opened.engine_version in ("1", "3")  # the old one serves in between
    assert waiting.end().reason == loader_pb2.CLOSE_REASON_FINISHED
    until(lambda: rollouts(running)[0].state == "applied", "the newest is applied")
    assert version_of(running, engine="echo") == "3"
    alone(running)


# ---- what comes between


@pytest.mark.parametrize("keys", ["", "replace: in_place"])
def test_the_end_of_the_loader_ends_a_rollout(
    keys: str, start: Start, wrapper: Write, tmp_path: Path
) -> None:
    """SIGTERM while a new host initialises: the end does not wait for it, and nothing is left."""
    gate = tmp_path / "gate"
    running = start(config(wrapper(), "1", keys))
    running.rewrite(config(wrapper(), "2", keys, fault={"at": "init", "gate": str(gate)}))
    until(lambda: (tmp_path / "gate.reached").exists(), "the new one initialises")
    family = running.hosts()
    waiting = open_at(running, ECHO) if keys else None
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(FINI_S) == 0  # one that has begun has so long for its fini
    until(lambda: not [host for host in family if runs(host)], "no host is left")
    if waiting is not None:
        with pytest.raises(grpc.RpcError) as caught:
            list(waiting.call)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_the_end_of_the_loader_closes_what_a_replacement_left_open(start: Start, wrapper: Write) -> None:
    """Sessions of a version that leaves end with the drain of the loader, not with their own long one."""
    keys = "drain_timeout_s: 600"
    running = start(config(wrapper(), "1", keys, "drain_timeout_s: 1"))
    old = running.open_session("echo")
    assert change(running, config(wrapper(), "2", keys, "drain_timeout_s: 1")).state == "applied"
    running.process.send_signal(signal.SIGTERM)
    assert old.final().reason == loader_pb2.CLOSE_REASON_DRAIN
    assert running.process.wait(END_S) == 0


def test_a_second_signal_still_says_goodbye(start: Start, wrapper: Write) -> None:
    """A session that is cut gets its Final."""
    running = start(config(wrapper(), "1", service="drain_timeout_s: 600"))
    session = running.open_session("echo")
    running.process.send_signal(signal.SIGTERM)
    until(lambda: "draining" in running.log_text(), "the drain has begun")
    running.process.send_signal(signal.SIGTERM)
    assert session.final().reason == loader_pb2.CLOSE_REASON_DRAIN
    assert running.process.wait(END_S) == 5


def test_a_loader_that_was_stopped_accuses_nobody(start: Start, wrapper: Write) -> None:
    """Time in which the loader itself did not run is not held against its hosts."""
    running = start(config(wrapper(), "1", "host_timeout_ms: 1500"))
    session = running.open_session("echo")
    before = running.instance("echo").pid
    freeze(running.process.pid)
    threading.Event().wait(4)  # what is tested is this time going by
    running.process.send_signal(signal.SIGCONT)
    session.write("a")
    assert session.result() == "1:a"
    session.end()
    assert running.instance("echo").pid == before
    assert running.log_lines("instance hung") == []

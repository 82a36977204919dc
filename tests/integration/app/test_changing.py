"""A changed file: live keys apply at once, new instances replace old ones, what cannot be is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from running import Running, until

from loader.v1 import admin_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]


def rollouts(running: Running) -> list[tuple[str, str]]:
    """State and error of each rollout, newest first."""
    answer = running.admin.ListRollouts(admin_pb2.ListRolloutsRequest(), timeout=30)
    return [(r.state, r.error) for r in answer.rollouts]


def test_a_live_key_applies_to_a_running_instance(start: Start, wrapper: Write) -> None:
    """More slots are there without a new process."""
    config = f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 1, admission_wait_ms: 0}}}}"
    running = start(config)
    held = running.open_session("echo")  # dropped, the call would cancel itself
    with pytest.raises(grpc.RpcError) as caught:
        running.echo("echo")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    before = running.instance("echo").pid
    running.rewrite(config.replace("slots: 1", "slots: 2"))
    until(lambda: len(rollouts(running)) == 2, "the change was taken")
    assert rollouts(running)[0] == ("applied", "")
    assert running.echo("echo") == "hello"
    assert running.instance("echo").pid == before
    held.call.cancel()


def test_a_replacement_leaves_open_sessions_where_they_are(start: Start, wrapper: Write) -> None:
    """New instances serve new sessions; an open one finishes on the old process, which ends then."""
    config = f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 1}}}}"
    running = start(config)
    session = running.open_session("echo")
    before = running.instance("echo").pid
    running.rewrite(config.replace("slots: 1", "slots: 9, instances: 2"))
    until(lambda: rollouts(running)[0] == ("applied", "") and len(rollouts(running)) == 2, "it was applied")
    assert running.echo("echo") == "hello"
    assert before in {host.pid for host in running.hosts()}
    session.write("still here")
    assert session.result() == "still here"
    session.end()
    until(lambda: before not in {host.pid for host in running.hosts()}, "the old process ended")
    assert len(running.hosts()) == 2


def test_a_key_of_the_loader_itself_is_refused_whole(start: Start, wrapper: Write) -> None:
    """Nothing of the revision applies; the reason names the key."""
    config = f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 1}}}}"
    running = start(config)
    running.rewrite(config.replace("slots: 1", "slots: 9") + "\nbusy_poll_us: 5\n")
    until(lambda: rollouts(running)[0][0] == "refused", "the change was seen")
    assert "busy_poll_us: 0 → 5 takes a restart" in rollouts(running)[0][1]
    assert running.instance("echo").slots == 1


def test_a_mistake_is_refused_with_its_line_and_serving_goes_on(start: Start, wrapper: Write) -> None:
    """A broken file changes nothing; the next good one applies."""
    config = f"engines:\n  echo:\n    wrapper: {wrapper('echo')}\n    slots: 1\n"
    running = start(config)
    running.rewrite(config.replace("slots", "slotz"))
    until(lambda: len(rollouts(running)) == 2, "the mistake was seen")
    assert "service.yaml:4: engines.echo.slotz: unknown key: did you mean `slots`?" in rollouts(running)[0][1]
    assert running.echo("echo") == "hello"
    running.rewrite(config.replace("slots: 1", "slots: 3"))
    until(lambda: rollouts(running)[0][0] == "applied" and len(rollouts(running)) == 3, "the next was taken")
    assert running.instance("echo").slots == 3


def test_serving_goes_on_while_the_configuration_changes(start: Start, wrapper: Write) -> None:
    """No call fails while live keys change."""
    config = f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 4, queue_limit: 100}}}}"
    running = start(config)
    done = threading.Event()
    failures: list[BaseException] = []

    def call() -> None:
        while not done.is_set():
            try:
                running.echo("echo")
            except grpc.RpcError as error:
                failures.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        for number in range(1, 6):
            running.rewrite(config.replace("queue_limit: 100", f"queue_limit: {100 + number}"))
            until(lambda number=number: len(rollouts(running)) == number + 1, "the change was taken")
    finally:
        done.set()
        caller.join(20)
    assert failures == []

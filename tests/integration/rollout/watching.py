"""What the tests ask a running loader about its rollouts."""

from __future__ import annotations

import queue
from typing import Any

from running import Running, Session, until

from loader.v1 import admin_pb2, loader_pb2


def rollouts(running: Running) -> list[Any]:
    """The records of ListRollouts, newest first."""
    return list(running.admin.ListRollouts(admin_pb2.ListRolloutsRequest(), timeout=30).rollouts)


def change(running: Running, text: str, limit_s: float = 60) -> Any:
    """Writes the file of a loader whose center it is; the record of the rollout that follows, when it is over."""
    before = rollouts(running)[0]
    running.rewrite(text)
    return ended(running, before, limit_s)


def ended(running: Running, before: Any, limit_s: float = 60) -> Any:
    """The newest record once it is another than `before` and over."""

    def newest() -> Any:
        one = rollouts(running)[0]
        return one if one.time_s != before.time_s and one.state != "applying" else None

    return until(newest, "the rollout is over", limit_s)


def deployments(running: Running, engine: str = "echo") -> list[Any]:
    """The status of every deployment of an engine."""
    answer = running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=30)
    return [one for one in answer.engines if one.description.name == engine]


def alone(running: Running, hosts: int = 1) -> None:
    """Waits until the replaced ones are gone."""
    until(lambda: len(running.hosts()) == hosts, f"{hosts} hosts are left")


def open_at(running: Running, target: loader_pb2.Target) -> Session:
    """A session that asks for more than a name; `call` has sent its Open."""
    session = Session.__new__(Session)
    session._requests = queue.SimpleQueue()
    session.say(loader_pb2.SessionRequest(open=loader_pb2.Open(target=target)))
    session.call = running.engine.Session(iter(session._requests.get, None), timeout=60)
    session.session_id = ""
    return session


def version_of(running: Running, **target: Any) -> str:
    """Opens a session, asks it who it is, ends it; both must agree."""
    session = open_at(running, loader_pb2.Target(**target))
    version = next(session.call).opened.engine_version
    session.write("who")
    assert session.result() == f"{version}:who"
    session.end()
    return str(version)


def wait_for_step(running: Running, text: str) -> None:
    """Until the newest rollout has a step with the text."""
    until(lambda: any(text in step for step in rollouts(running)[0].steps), f"a step `{text}`")

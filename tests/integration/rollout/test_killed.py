"""The loader is killed, or its center dies, at each step of a rollout: afterwards it is the old or the new, whole.

The wrapper waits at the step until the test has done its deed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from centers import ConsulPlace, Place
from consul_agent import ConsulAgent
from running import END_S, Running, runs, until
from watching import alone, deployments, rollouts, version_of

from loader.v1 import admin_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]
STEPS = ["init", "warm_up", "health"]


def config(wrapper: Path, version: str, keys: str = "", **fault: object) -> str:
    inner = json.dumps({"says": version, "fault": fault})
    # Two engines: never one of the one and one of the other.
    one = f"{{wrapper: {wrapper}, version: '{version}', config: {inner}, {keys}}}"
    other = f"{{wrapper: {wrapper}, version: '{version}', config: {{says: '{version}'}}}}"
    return f"engines:\n  other: {other}\n  echo: {one}\n"


def both(running: Running) -> set[str]:
    """The versions that answer."""
    return {version_of(running, engine=name) for name in ("other", "echo")}


def engines(running: Running) -> list[Any]:
    """Every deployment of both."""
    return list(running.admin.ListEngines(admin_pb2.ListEnginesRequest(), timeout=30).engines)


def kill(running: Running) -> None:
    family = running.hosts()
    running.process.kill()
    running.process.wait(END_S)
    until(lambda: not any(runs(one) for one in family), "no host is left")


@pytest.mark.parametrize("step", [*STEPS, "drain", "in_place"])
def test_a_loader_that_is_killed_is_old_or_new(
    step: str, start: Start, wrapper: Write, place: Place, tmp_path: Path
) -> None:
    """And says which, for both engines."""
    gate = tmp_path / "gate"
    keys = "replace: in_place, drain_timeout_s: 0" if step == "in_place" else ""
    place.publish(config(wrapper(), "1", keys))
    running = start(place.bootstrap)
    until(lambda: place.acknowledgement().get("state") == "applied", "the first one is told")
    held = running.open_session("echo")  # keeps the old one draining
    place.publish(config(wrapper(), "2", keys, at="init" if keys else step, gate=str(gate)))
    if step == "drain":
        until(
            lambda: place.acknowledgement().get("serving") != rollouts(running)[-1].revision, "it is applied"
        )
        assert len(deployments(running)) == 2
    else:
        until(lambda: (tmp_path / "gate.reached").exists(), f"it is at {step}")
    if keys:
        assert {one.description.name for one in engines(running) if one.is_routed} == {"other"}
    kill(running)
    held.call.cancel()
    gate.touch()
    again = start(place.bootstrap)
    served = set()

    def is_new() -> bool:
        routed = {one.description.version for one in engines(again) if one.is_routed}
        served.add(tuple(routed))
        return routed == {"2"}

    until(is_new, "what was wanted is tried again")
    assert served <= {("1",), ("2",)}, "never one engine of each"
    until(lambda: place.acknowledgement()["serving"] == rollouts(again)[0].revision, "it says so")
    assert place.acknowledgement()["state"] == "applied"
    assert both(again) == {"2"}
    alone(again, 2)


@pytest.mark.parametrize("is_good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize("step", STEPS)
def test_a_center_that_dies_hears_the_outcome_when_it_is_back(
    step: str,
    is_good: bool,
    start: Start,
    wrapper: Write,
    start_consul: Callable[..., ConsulAgent],
    tmp_path: Path,
) -> None:
    """The rollout goes on without it, to its end or back."""
    gate = tmp_path / "gate"
    agent = start_consul()
    place = ConsulPlace(agent, "speech", tmp_path / "cache")
    place.publish(config(wrapper(), "1"))
    running = start(place.bootstrap)
    until(lambda: place.acknowledgement().get("state") == "applied", "the first one is told")
    fault: dict[str, Any] = {"at": step, "gate": str(gate)}
    place.publish(config(wrapper("gone" if not is_good else "versioned", _source(is_good)), "2", **fault))
    until(lambda: (tmp_path / "gate.reached").exists(), f"it is at {step}")
    agent.kill()
    gate.touch()
    state = "applied" if is_good else "rolled_back"
    until(
        lambda: (
            any(one.state == state and one.revision for one in rollouts(running)[:1])
            or any(one.state == state for one in rollouts(running)[:-1])
        ),
        "it is over",
    )
    assert both(running) == {"2" if is_good else "1"}
    agent.restart()
    until(lambda: place.acknowledgement().get("state") == state, "the center hears it", 60)
    assert both(running) == {"2" if is_good else "1"}


def _source(is_good: bool) -> str:
    from versioned import VERSIONED

    waits = "                time.sleep(0.01)\n"
    assert waits in VERSIONED
    return (
        VERSIONED
        if is_good
        else VERSIONED.replace(waits, waits + "            raise RuntimeError('no good')\n")
    )


@pytest.fixture(autouse=True)
def _no_gate_is_left(tmp_path: Path) -> Iterator[None]:
    """A test that fails must not leave hosts that wait."""
    yield
    (tmp_path / "gate").touch()

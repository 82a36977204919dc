"""A new version that fails, at each step: the old one serves on, and the acknowledgement says precisely why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from centers import Place
from running import Running, until
from watching import alone, change, deployments, rollouts, version_of

from loader.v1 import loader_pb2

Start = Callable[..., Running]
Write = Callable[..., Path]


def config(wrapper: Path, version: str, **fault: object) -> str:
    inner = json.dumps({"says": version, "fault": fault})
    return f"engines:\n  echo:\n    wrapper: {wrapper}\n    version: '{version}'\n    config: {inner}\n"


@pytest.mark.parametrize("how", ["raises", "exits"])
@pytest.mark.parametrize("step", ["init", "warm_up", "health"])
def test_a_version_that_fails_to_start_is_rolled_back(
    step: str, how: str, start: Start, wrapper: Write, place: Place
) -> None:
    """The reason has the place in the configuration, the engine, its version, the stage and the wrapper's words."""
    place.publish(config(wrapper(), "1"))
    running = start(place.bootstrap)
    before = running.instance("echo").pid
    place.publish(config(wrapper(), "2", at=step, **({"exits": True} if how == "exits" else {})))
    until(lambda: place.acknowledgement().get("state") == "rolled_back", "the node says so")
    said = place.acknowledgement()
    assert "service.yaml:2: echo 2: did not start: failed at" in said["error"]
    assert (f"no good at {step}" if how == "raises" else "exit code 7") in said["error"]
    if how == "raises":
        assert f"failed at {step}:" in said["error"]
    assert said["serving"] == rollouts(running)[-1].revision != said["revision"]
    assert version_of(running, engine="echo") == "1"
    assert running.instance("echo").pid == before
    alone(running)
    place.publish(config(wrapper(), "3"))  # and the way is free for the next one
    until(lambda: place.acknowledgement().get("state") == "applied", "a good one is taken")
    assert version_of(running, engine="echo") == "3"


@pytest.mark.parametrize(
    "broken",
    ["wrong_major.so", "missing_entry.so", "truncated.so", "syntax.py"],
)
def test_a_wrapper_that_does_not_load_is_rolled_back(
    broken: str, start: Start, wrapper: Write, tmp_path: Path
) -> None:
    """Native ones too; nothing of it runs."""
    running = start(config(wrapper(), "1"))
    file = Path(__file__).resolve().parents[3] / "build" / "hostile" / broken
    if broken == "syntax.py":
        file = tmp_path / broken
        file.write_text("def broken(:\n")
    record = change(running, config(file, "2"))
    assert record.state in ("rolled_back", "refused"), record
    assert "echo 2" in record.error or str(file) in record.error
    assert version_of(running, engine="echo") == "1"
    alone(running)


def test_a_version_that_dies_in_its_first_session_is_restarted(start: Start, wrapper: Write) -> None:
    """It has started, so it is applied; whether it is worth its sessions is for a canary to find out."""
    running = start(config(wrapper(), "1"))
    assert change(running, config(wrapper(), "2", at="session", exits=True)).state == "applied"
    session = running_session(running)
    assert session.reason == loader_pb2.CLOSE_REASON_HOST_DIED
    until(lambda: deployments(running)[0].instances[0].restarts == 1, "it was started again")


def running_session(running: Running) -> loader_pb2.Final:
    """The end of a session that is opened now."""
    from running import Session

    session = Session(running, "echo")
    try:
        return session.final()
    except Exception as error:  # the status of the call follows its Final
        raise AssertionError(f"no Final: {error!r}") from error


def test_an_instance_that_says_it_is_ill_is_replaced(start: Start, wrapper: Write, tmp_path: Path) -> None:
    """Its open session ends by itself, new ones go to the process that comes after it."""
    source = """
        import pathlib
        from loader import Session, Wrapper

        class Ill(Wrapper):
            def init(self, config):
                self.flag = pathlib.Path(config["flag"])

            def health(self):
                if self.flag.exists():
                    self.flag.unlink()
                    raise RuntimeError("out of breath")

            def create(self, params):
                return Echo()

        class Echo(Session):
            def write(self, frame):
                return {"text": frame["text"]}
    """
    flag = tmp_path / "ill"
    running = start(
        f"engines: {{echo: {{wrapper: {wrapper('ill', source)}, host_timeout_ms: 2000, config: {{flag: {flag}}}}}}}"
    )
    session = running.open_session("echo")
    before = running.instance("echo").pid
    flag.touch()
    until(lambda: running.instance("echo").state == "unhealthy", "it was heard")
    assert "out of breath" in running.instance("echo").error
    session.write("still here")
    assert session.result() == "still here"
    assert session.end().reason == loader_pb2.CLOSE_REASON_FINISHED
    until(lambda: running.instance("echo").state == "ready", "another process is ready")
    assert running.instance("echo").pid != before

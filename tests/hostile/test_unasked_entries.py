"""Entries that no client calls: a wrapper that dies, hangs or raises while it is loaded, described or updated."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from textwrap import dedent, indent

import pytest
from running import Running, until
from scene import HANGING, KIND, LIBRARIES, LIMIT_S, MEAN, Scene, hostile, running_marked

from loader.client import Client
from loader.errors import EngineDiedError, LoaderError
from loader.v1 import admin_pb2

# What is done, and what the engine's error says of it.
BEHAVIORS = {
    "segfault": ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    "leave": ("import os; os._exit(0)", "exit code 0"),
    "raise": ("raise ValueError('hostile: raised on purpose')", "raised on purpose"),
    "exit": ("raise SystemExit(7)", "SystemExit"),
    "hang": ("import threading; threading.Event().wait()", "init did not finish in init_timeout_"),
}
PLACES = {
    "module": """
        {act}
        from loader import Wrapper

        class Mean(Wrapper):
            def exec(self, request):
                return {{"x": request["x"]}}
    """,
    "constructor": """
        from loader import Wrapper

        class Mean(Wrapper):
            def __init__(self):
                {act}

            def exec(self, request):
                return {{"x": request["x"]}}
    """,
    "describe": """
        from loader import Wrapper

        class Mean(Wrapper):
            @classmethod
            def describe(cls):
                {act}

            def exec(self, request):
                return {{"x": request["x"]}}
    """,
}
UPDATE = """
    from loader import Wrapper

    class Mean(Wrapper):
        def init(self, config):
            self.says = str(config.get("says", ""))

        def update(self, config):
            if config.get("act"):
{act}
            self.says = str(config.get("says", ""))

        def exec(self, request):
            return {{"x": self.says}}
"""


def rollouts(running: Running) -> list[tuple[str, str]]:
    """State and error of each rollout, newest first."""
    answer = running.admin.ListRollouts(admin_pb2.ListRolloutsRequest(), timeout=30)
    return [(one.state, one.error) for one in answer.rollouts]


@pytest.mark.parametrize("behavior", BEHAVIORS)
@pytest.mark.parametrize("place", PLACES)
def test_a_module_that_misbehaves_before_init_is_given_up(tmp_path: Path, place: str, behavior: str) -> None:
    """With its reason; calls are refused at once, and the neighbour never notices."""
    act, text = BEHAVIORS[behavior]
    entry = tmp_path / "mean.py"
    entry.write_text(dedent(PLACES[place]).format(act=act))
    engine = {
        "wrapper": str(entry),
        "restart": {"backoff_s": 0.01, "intensity": 1},
        "init_timeout_s": 2,
    }
    with hostile(tmp_path, "", "", serves_again=False, **engine) as scene:
        status = until(lambda: (s := scene.running.instance("mean")).state == "failed" and s, "given up")
        assert text in status.error
        assert scene.provoke("exec")[1] in {"ENGINE_UNAVAILABLE", "INIT_FAILED", "BAD_WRAPPER"}


def test_a_library_whose_describe_dies_is_given_up(tmp_path: Path) -> None:
    """As a module; `describe` is called before init."""
    engine = {"wrapper": str(LIBRARIES / "dying_describe.so"), "restart": {"backoff_s": 0.01, "intensity": 1}}
    with hostile(tmp_path, "", "", serves_again=False, **engine) as scene:
        status = until(lambda: (s := scene.running.instance("mean")).state == "failed" and s, "given up")
        assert "SIGABRT" in status.error
        assert scene.provoke("exec")[1] in {"ENGINE_UNAVAILABLE", "INIT_FAILED"}


@pytest.mark.parametrize("behavior", ["segfault", "leave", "raise", "exit"])
def test_an_update_that_misbehaves_is_a_replacement(tmp_path: Path, behavior: str) -> None:
    """The change is served by a new process, as if there were no update; the neighbour never notices."""
    act = indent(BEHAVIORS[behavior][0], " " * 16)
    entry = tmp_path / "mean.py"
    entry.write_text(dedent(UPDATE.format(act=act)))
    engine = {"wrapper": str(entry), "restart": {"backoff_s": 0.01}, "config": {"says": "first"}}
    config = {"engines": {"mean": engine, "kind": KIND}}
    with running_marked(tmp_path, config) as (running, mark), Client(running.ready["grpc"]) as client:
        scene = Scene.beside(running, client, mark)

        def says(text: str) -> bool:
            try:
                [result] = client.exec("mean", {"x": "?"}, timeout_s=5)
            except LoaderError:
                return False
            return bool(result["x"] == text)

        def write(**values: object) -> None:
            changed = {"engines": {"mean": engine | {"config": values}, "kind": KIND}}
            running.rewrite(json.dumps(changed))

        assert says("first")
        write(says="second", act=True)
        until(lambda: says("second"), "a new process serves the change", LIMIT_S)
        until(lambda: rollouts(running)[0] == ("applied", ""), "it was applied", LIMIT_S)
        scene.witness.beat()
        write(says="third")
        until(lambda: says("third"), "the next change is taken", LIMIT_S)
        scene.witness.beat()
        scene.witness.end()
        scene.stop()


@pytest.mark.parametrize("behavior", ["segfault", "exit"])
def test_a_native_update_that_dies_is_a_replacement(tmp_path: Path, behavior: str) -> None:
    """A new process serves the change, as from a module."""
    mean = MEAN | {"config": {"behavior": behavior, "entry": "update"}}
    config = {"engines": {"mean": mean, "kind": KIND}}
    with running_marked(tmp_path, config) as (running, mark), Client(running.ready["grpc"]) as client:
        scene = Scene.beside(running, client, mark)
        before = running.instance("mean").pid
        changed = {"mean": mean | {"config": {"behavior": "echo", "entry": "update"}}, "kind": KIND}
        running.rewrite(json.dumps({"engines": changed}))
        until(lambda: running.instance("mean").pid not in (0, before), "a new process", LIMIT_S)
        until(lambda: rollouts(running)[0] == ("applied", ""), "it was applied", LIMIT_S)
        scene.assert_recovered()
        scene.witness.end()
        scene.stop()


@pytest.mark.parametrize("behavior", ["segfault", "exit", "loop", "fail"])
def test_a_native_health_that_misbehaves_is_replaced(tmp_path: Path, behavior: str) -> None:
    """It is asked while the engine serves; the neighbour never notices."""
    with hostile(tmp_path, behavior, "health", host_timeout_ms=1000, **HANGING) as scene:
        with contextlib.suppress(EngineDiedError):  # where a check comes before this answer has left
            assert scene.exec({"trigger": "from now on"}) == []
        until(
            lambda: scene.running.instance("mean").pid not in (0, scene.first_pid), "a new process", LIMIT_S
        )
        scene.assert_recovered()

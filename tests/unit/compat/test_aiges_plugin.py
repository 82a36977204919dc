"""Parts of the adapter for commands that need no command: results by tag, schemas, the reason of a missing package."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from loader.compat.aiges.describing import plain
from loader.compat.aiges.plugin.arrivals import MOST_EARLY, Arrivals
from loader.compat.aiges.plugin.describing import description_of
from loader.compat.aiges.receivers import RECEIVERS
from loader.engine.manifest import COMMAND_ADAPTER


class Receiver:
    def __init__(self) -> None:
        self.results: list[object] = []

    def on_response(self, response: object) -> int:
        self.results.append(response.list)  # type: ignore[attr-defined]
        return 0

    def on_meter(self, key: str, count: float) -> None: ...
    def on_trace(self, key: str, value: str) -> None: ...


def response(what: str) -> SimpleNamespace:
    return SimpleNamespace(list=what, ret=0)


def test_results_before_their_create_has_returned_come_in_order() -> None:
    """Only while a create runs, and only so many."""
    arrivals, receiver = Arrivals(), Receiver()
    arrivals.deliver("h1", response("nobody's"))
    with arrivals.creating():
        for number in range(MOST_EARLY + 5):
            arrivals.deliver("h1", response(str(number)))
        assert arrivals.claim("h1", receiver)
        arrivals.deliver("h1", response("after"))
    assert receiver.results == [*map(str, range(MOST_EARLY)), "after"]
    arrivals.release("h1", receiver)
    assert not RECEIVERS.is_any()


def test_what_comes_late_is_not_the_next_sessions() -> None:
    """A handle that is used again: results between its sessions are the old one's."""
    arrivals, first, second = Arrivals(), Receiver(), Receiver()
    assert arrivals.claim("h2", first)
    arrivals.release("h2", first)
    with arrivals.creating():
        arrivals.deliver("h2", response("late"))
        assert arrivals.claim("h2", second)
    arrivals.deliver("h2", response("own"))
    assert (first.results, second.results) == ([], ["own"])
    arrivals.release("h2", second)


def test_a_handle_has_one_session() -> None:
    """Another one is refused; without a handle there is nothing to refuse."""
    arrivals, first, second = Arrivals(), Receiver(), Receiver()
    assert arrivals.claim("h3", first)
    assert not arrivals.claim("h3", second)
    assert arrivals.claim("", first)
    assert arrivals.claim("", second)
    arrivals.release("h3", first)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        pytest.param("[" * 100_000, id="deep"),
        "[]",
        '{"meta": 7}',
        '{"meta": {"serviceId": "x", "x": []}}',
    ],
)
def test_a_schema_that_is_none_describes_nothing(text: str) -> None:
    """The engine is served all the same."""
    said = description_of(text)
    assert said["flavour"] == "command"
    assert not said.get("inputs")
    assert not said.get("parameters")


def test_what_a_wrapper_declares_is_json_for_every_reader() -> None:
    """Also what Python alone takes for JSON: the loader would end a host that sent it."""
    assert plain({"a": [float("inf"), float("nan"), 1.5], "\ud800": b"x"}) == {
        "a": [None, None, 1.5],
        "?": "b'x'",
    }


def test_a_schema_without_a_service_in_its_meta_part() -> None:
    """The schemas of the payload say what goes in and comes out."""
    image = {"properties": {"encoding": {}, "image": {}, "status": {}}}
    properties = {"payload": {"properties": {"photo": image, "note": {}}}, "parameter": []}
    said = description_of(json.dumps({"meta": {"serviceId": "x"}, "schemainput": {"properties": properties}}))
    assert said["inputs"] == [{"key": "photo", "type": "image"}, {"key": "note", "type": "text"}]
    assert (said["outputs"], said["parameters"]) == ([], [])


def test_an_interpreter_without_grpcio_is_told() -> None:
    """With its path and the cure."""
    script = f"""
import sys
sys.modules["grpc"] = None
from pathlib import Path
from loader.host.load import BadWrapper, load_wrapper
try:
    load_wrapper(Path({str(COMMAND_ADAPTER.parent)!r}), {COMMAND_ADAPTER.name!r})
except BadWrapper as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"an engine with a `command` needs grpc for {sys.executable}: run `" in done.stdout

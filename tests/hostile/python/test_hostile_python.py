"""After each behavior of the hostile Python wrapper the loader serves the next call and left nothing behind."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from running import Running, until

from loader.client import Client
from loader.errors import LoaderError

HERE = Path(__file__).parent
ECHO = HERE.parents[2] / "wrappers" / "echo_py"
LIMIT_S = 30


@contextmanager
def hostile(
    folder: Path, behavior: str, where: str | list[str], **engine: Any
) -> Iterator[tuple[Running, Client]]:
    """A loader with the hostile engine and, beside it, an innocent one."""
    mean = {
        "wrapper": str(HERE), "slots": 4, "threads": 2, "call_timeout_ms": 1500, "create_timeout_ms": 1500,
        "destroy_timeout_ms": 1500, "hang_grace_ms": 300, "host_timeout_ms": 1500,
        "config": {"behavior": behavior, "where": where},
        "restart": {"backoff_s": 0.05, "backoff_max_s": 0.2},
    } | engine  # fmt: skip
    config = {"engines": {"mean": mean, "echo": {"wrapper": str(ECHO), "slots": 4}}}
    with Running(folder, json.dumps(config)) as running, Client(running.ready["grpc"]) as client:
        yield running, client


def is_serving(client: Client, engine: str) -> bool:
    """The engine answers a calm call."""
    try:
        [result] = client.exec(engine, {"calm": "x"}, timeout_s=5)
    except LoaderError:
        return False
    return bool(result["calm"] == "x")


def assert_recovered(client: Client) -> None:
    """Both engines serve; the innocent one at once."""
    assert is_serving(client, "echo")
    until(lambda: is_serving(client, "mean"), "the hostile engine serves again", LIMIT_S)


def failure_of(client: Client, is_session: bool) -> LoaderError:
    """The error that the hostile call ends with."""
    with pytest.raises(LoaderError) as caught:
        attack(client, is_session)
    return caught.value


def attack(client: Client, is_session: bool) -> None:
    """The call or session that meets the behavior."""
    if not is_session:
        client.exec("mean", {"data": b"x"}, timeout_s=LIMIT_S)
        return
    with client.session("mean", {}, timeout_s=LIMIT_S) as session:
        session.write({"data": b"x"})
        session.end()
        list(session)


@pytest.mark.parametrize("is_session", [False, True], ids=["exec", "session"])
@pytest.mark.parametrize(
    ("behavior", "name"),
    [
        ("raise_error", "ENGINE_ERROR"),
        ("raise_exit", "ENGINE_ERROR"),
        ("bad_type", "ENGINE_ERROR"),
        ("bad_text", "ENGINE_ERROR"),
        ("segfault", "ENGINE_DIED"),
        ("abort", "ENGINE_DIED"),
        ("leave", "ENGINE_DIED"),
        ("kill_group", "ENGINE_DIED"),
        ("close_descriptors", "ENGINE_DIED"),
        ("sleep_forever", "CALL_HUNG"),
        ("loop_forever", "CALL_HUNG"),
        ("hold_gil", "CALL_HUNG"),
        ("never_finish", "CALL_HUNG"),
        ("ignore_cancel", "CALL_HUNG"),
    ],
)
def test_hostile_call_ends_with_its_reason(
    tmp_path: Path, behavior: str, name: str, is_session: bool
) -> None:
    """The caller gets the documented error, other engines never notice, the next call is served."""
    with hostile(tmp_path, behavior, ["exec", "write"]) as (_, client):
        assert failure_of(client, is_session).name == name
        assert_recovered(client)


@pytest.mark.parametrize("behavior", ["segfault", "leave", "raise_error"])
@pytest.mark.parametrize("where", ["create", "end", "destroy", "cancel"])
def test_hostile_verb_harms_only_its_session(tmp_path: Path, behavior: str, where: str) -> None:
    """Whatever verb dies or raises, both engines serve afterwards."""
    with hostile(tmp_path, behavior, where) as (_, client):
        with client.session("echo", {}, timeout_s=LIMIT_S) as innocent:
            innocent.write({"n": "1"})
            try:
                with client.session("mean", {}, timeout_s=LIMIT_S) as session:
                    session.write({"calm": "x"})
                    session.end()
                    list(session)
            except LoaderError:
                pass
            innocent.write({"n": "2"})
            innocent.end()
            assert [result["n"] for result in innocent] == ["1", "2"]
        assert_recovered(client)


def test_forked_child_is_killed_with_its_host(tmp_path: Path) -> None:
    """A grandchild that ignores SIGTERM does not outlive the loader."""
    with hostile(tmp_path, "fork_child", "exec") as (running, client):
        client.exec("mean", {"data": b"x"}, timeout_s=LIMIT_S)
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert any("hostile" in " ".join(one.cmdline()) for one in family)
        assert_recovered(client)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive


def test_emits_after_destroy_reach_nobody(tmp_path: Path) -> None:
    """A thread that goes on emitting is refused; later sessions get only their own results."""
    with hostile(tmp_path, "emit_late", ["write"]) as (_, client):
        for number in range(5):
            with client.session("mean", {}, timeout_s=LIMIT_S) as session:
                session.write({"calm": str(number)})
                session.end()
                assert [result["calm"] for result in session if "calm" in result] == [str(number)]
        assert_recovered(client)


def test_gigabyte_of_output_is_dropped_and_counted(tmp_path: Path) -> None:
    """Output beyond the limit neither fills the log nor stops the engine's host."""
    with hostile(tmp_path, "print_gigabyte", "exec", call_timeout_ms=120_000) as (running, client):
        client.exec("mean", {"data": b"x"}, timeout_s=120)
        assert_recovered(client)
        assert (running.folder / "loader.log").stat().st_size < 256 << 20


def test_memory_limit_stops_the_host(tmp_path: Path) -> None:
    """A host above memory_limit_bytes is stopped and replaced."""
    with hostile(tmp_path, "allocate", "exec", memory_limit_bytes=300 << 20, call_timeout_ms=60_000) as (
        _,
        client,
    ):
        assert failure_of(client, is_session=False).name in {"MEMORY_LIMIT", "ENGINE_DIED"}
        assert_recovered(client)


def test_flood_is_held_by_credit(tmp_path: Path) -> None:
    """A stream without end to a reader that stops costs bounded memory, and ends with the reader."""
    with hostile(tmp_path, "flood", "write") as (running, client):
        session = client.session("mean", {}, timeout_s=LIMIT_S)
        session.__enter__()
        session.write({"data": b"x"})
        next(iter(session))
        before = psutil.Process(running.process.pid).memory_info().rss
        until_s = time.monotonic() + 1.5
        while time.monotonic() < until_s:
            assert is_serving(client, "echo")
        assert psutil.Process(running.process.pid).memory_info().rss - before < 32 << 20
        session.cancel()
        assert_recovered(client)

"""After each behavior of the hostile Python wrapper the loader serves the next call and left nothing behind."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
import scene
from running import until
from scene import LIMIT_S, Scene

HERE = Path(__file__).parent
MEGABYTE = 1 << 20
GIGABYTE = 1 << 30

DEATHS = ["segfault", "abort", "leave", "kill_group"]
# What the client of an entry is told: (close reason, error).
TOLD = {
    "error": {
        "exec": ("", "ENGINE_ERROR"),
        "create": ("create_failed", "CREATE_FAILED"),
        "write": ("engine_error", "ENGINE_ERROR"),
        "end": ("engine_error", "ENGINE_ERROR"),
        "cancel": ("", "CANCELLED"),  # its stream is gone: there is nobody to say more to
        "destroy": ("finished", ""),  # it had its final already
    },
    "death": {
        "exec": ("", "ENGINE_DIED"),
        "create": ("host_died", "ENGINE_DIED"),
        "write": ("host_died", "ENGINE_DIED"),
        "end": ("host_died", "ENGINE_DIED"),
        "cancel": ("", "CANCELLED"),
        "destroy": ("finished", ""),
    },
    "hang": {"exec": ("", "CALL_HUNG"), "write": ("call_hung", "CALL_HUNG")},
}


def hostile(folder: Path, behavior: str, entry: str, **engine: Any) -> AbstractContextManager[Scene]:
    """The scene of the native suite, with this wrapper."""
    found: AbstractContextManager[Scene] = scene.hostile(
        folder, behavior, entry, **({"wrapper": str(HERE)} | engine)
    )
    return found


def assert_restarts(found: Scene, number: int) -> None:
    until(lambda: found.running.instance("mean").restarts == number, f"{number} restarts", LIMIT_S)


@pytest.mark.parametrize("entry", ["exec", "write"])
@pytest.mark.parametrize(
    "behavior", ["raise_error", "raise_exit", "bad_type", "bad_key", "bad_text", "bad_item"]
)
def test_an_error_ends_only_its_session(tmp_path: Path, behavior: str, entry: str) -> None:
    """The process goes on."""
    with hostile(tmp_path, behavior, entry) as found:
        assert found.provoke(entry)[:2] == TOLD["error"][entry]
        assert found.running.instance("mean").restarts == 0


@pytest.mark.parametrize("entry", ["create", "end", "cancel", "destroy"])
def test_an_exception_in_any_method_harms_only_its_session(tmp_path: Path, entry: str) -> None:
    """Where nobody listens any more, nobody is told."""
    with hostile(tmp_path, "raise_error", entry) as found:
        assert found.provoke(entry)[:2] == TOLD["error"][entry]
        found.assert_recovered()
        assert found.running.instance("mean").restarts == 0


@pytest.mark.parametrize(
    ("behavior", "entry"),
    [(behavior, entry) for behavior in DEATHS for entry in ("exec", "write")]
    + [("close_descriptors", "exec"), ("close_descriptors", "write")]
    + [
        (behavior, entry)
        for behavior in ("segfault", "leave")
        for entry in ("create", "end", "cancel", "destroy")
    ],
)
def test_a_death_is_told_and_replaced(tmp_path: Path, behavior: str, entry: str) -> None:
    """The reason names the death; a new process serves the next one."""
    with hostile(tmp_path, behavior, entry) as found:
        assert found.provoke(entry)[:2] == TOLD["death"][entry]
        assert_restarts(found, 1)
        found.assert_recovered()
        assert found.running.instance("mean").pid != found.first_pid


@pytest.mark.parametrize("entry", ["exec", "write"])
@pytest.mark.parametrize(
    "behavior", ["sleep_forever", "loop_forever", "hold_gil", "never_finish", "ignore_cancel"]
)
def test_a_call_that_never_ends_is_hung(tmp_path: Path, behavior: str, entry: str) -> None:
    """The call's clock ends it, and the process is replaced."""
    with hostile(tmp_path, behavior, entry, **scene.HANGING) as found:
        assert found.provoke(entry)[:2] == TOLD["hang"][entry]
        assert_restarts(found, 1)


@pytest.mark.parametrize(
    ("behavior", "text"),
    [("segfault", "SIGSEGV"), ("leave", "exit code 0"), ("raise_error", "raised on purpose")],
)
@pytest.mark.parametrize("entry", ["init", "warm_up"])
def test_a_start_that_fails_is_told_and_given_up(
    tmp_path: Path, behavior: str, text: str, entry: str
) -> None:
    """The engine is failed with its reason; the neighbour serves."""
    restart = {"backoff_s": 0.01, "intensity": 1}
    with hostile(tmp_path, behavior, entry, serves_again=False, restart=restart) as found:
        status = until(lambda: (s := found.running.instance("mean")).state == "failed" and s, "given up")
        assert text in status.error
        assert found.provoke("exec")[1] in {"ENGINE_UNAVAILABLE", "INIT_FAILED"}


def test_a_session_beside_a_hung_one_learns_why_it_ends(tmp_path: Path) -> None:
    """After its grace it ends with the reason of the hung one: that is why its process is ended."""
    with hostile(tmp_path, "sleep_forever", "write", hang_grace_ms=300, **scene.HANGING) as found:
        with found.client.session("mean", timeout_s=LIMIT_S) as other:
            other.write({"x": "1"})
            next(other.results())
            assert found.provoke("write")[:2] == TOLD["hang"]["write"]
            with pytest.raises(scene.LoaderError) as caught:
                list(other.results())
            assert caught.value.name == "CALL_HUNG"
            assert other.final is not None
            assert other.final.reason == "call_hung"
        assert_restarts(found, 1)


def test_a_session_that_finishes_is_destroyed_as_finished(tmp_path: Path) -> None:
    """The wrapper is told what the client is told."""
    with hostile(tmp_path, "raise_error", "write") as found:
        assert found.provoke("end")[:2] == ("finished", "")
        assert found.provoke("write")[:2] == TOLD["error"]["write"]
        assert found.provoke("cancel")[:2] == ("", "CANCELLED")
        lines = ["destroyed: finished", "destroyed: engine_error", "destroyed: client_cancel"]
        until(lambda: printed(found) >= set(lines), f"the wrapper was told: {printed(found)}", LIMIT_S)


def printed(found: Scene) -> set[str]:
    """What the hostile engine has printed."""
    return {str(one["line"]) for one in found.running.log_lines("engine output") if one["engine"] == "mean"}


def test_sessions_of_another_instance_go_on(tmp_path: Path) -> None:
    """Two instances of one engine: the death of one is none of the other's business."""
    with hostile(tmp_path, "segfault", "write", instances=2, slots=1) as found:
        with (
            found.client.session("mean", timeout_s=LIMIT_S) as dying,
            found.client.session("mean", timeout_s=LIMIT_S) as living,
        ):
            for session in (dying, living):
                session.write({"x": "1"})
                next(session.results())
            dying.write({"trigger": "x"})
            with pytest.raises(scene.LoaderError):
                list(dying.results())
            assert dying.final is not None
            assert dying.final.reason == "host_died"
            living.write({"x": "2"})
            assert [result["x"] for result in living] == ["2"]
        restarts = [found.running.instance("mean", index).restarts for index in (0, 1)]
        until(lambda: restarts_of(found) == [0, 1], f"one restart: {restarts}", LIMIT_S)


def restarts_of(found: Scene) -> list[int]:
    return sorted(found.running.instance("mean", index).restarts for index in (0, 1))


def test_forked_child_is_killed_with_its_host(tmp_path: Path) -> None:
    """A grandchild that ignores SIGTERM does not outlive the loader."""
    with hostile(tmp_path, "fork_child", "exec") as found:
        found.exec({"trigger": "x"})
        assert len(scene.marked(found.mark)) == 4  # loader, two hosts, the grandchild


def test_emits_after_destroy_reach_nobody(tmp_path: Path) -> None:
    """A thread that goes on emitting is refused; later sessions get only their own results."""
    with hostile(tmp_path, "emit_late", "write", slots=1) as found:
        with found.client.session("mean", timeout_s=LIMIT_S) as session:
            session.write({"trigger": "x"})
            list(session)
        for number in range(20):
            with found.client.session("mean", timeout_s=LIMIT_S) as session:
                session.write({"x": str(number)})
                assert [result["x"] for result in session] == [str(number)]
        assert found.running.instance("mean").restarts == 0


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_emits_of_ten_threads_all_arrive(tmp_path: Path, entry: str) -> None:
    """Each exactly once, and each thread's in its order."""
    with hostile(tmp_path, "emit_from_threads", entry) as found:
        if entry == "exec":
            results = found.exec({"trigger": "x"})
        else:
            with found.client.session("mean", timeout_s=LIMIT_S) as session:
                session.write({"trigger": "x"})
                results = list(session)
        pairs = [result["n"] for result in results if "n" in result]
        assert sorted(pairs) == [[number, count] for number in range(10) for count in range(10)]
        for number in range(10):
            assert [count for thread, count in pairs if thread == number] == list(range(10))


def test_a_second_finish_is_refused(tmp_path: Path) -> None:
    """The first one counts."""
    with hostile(tmp_path, "finish_twice", "exec") as found:
        assert found.exec({"trigger": "x"}) == []
        found.assert_recovered()
        assert "hostile: the second finish was accepted" not in printed(found)


def test_gigabyte_of_output_is_dropped_and_counted(tmp_path: Path) -> None:
    """Output beyond the limit neither fills the log nor the loader's memory, and every byte is accounted for."""
    with hostile(tmp_path, "print_gigabyte", "exec", call_timeout_ms=120_000) as found:
        before = found.loader.memory_info().rss
        assert len(found.exec({"trigger": "x"}, timeout_s=120)) == 1
        assert found.loader.memory_info().rss - before < 32 * MEGABYTE
        assert len(found.running.log_text()) < 256 * MEGABYTE
        found.assert_recovered()
        psutil.Process(found.first_pid).kill()  # at its end the rest is counted
        assert_restarts(found, 1)
        until(lambda: dropped_bytes(found) + logged_bytes(found) >= GIGABYTE, "every byte is accounted for")
        assert dropped_bytes(found) > GIGABYTE // 2
        assert dropped_bytes(found) + logged_bytes(found) < GIGABYTE + MEGABYTE


def dropped_bytes(found: Scene) -> int:
    return sum(one["dropped_bytes"] for one in found.running.log_lines("engine output dropped"))


def logged_bytes(found: Scene) -> int:
    lines = found.running.log_lines("engine output")
    return sum(len(one["line"]) + 1 for one in lines if one["engine"] == "mean")


def test_memory_limit_stops_the_host(tmp_path: Path) -> None:
    """A host above memory_limit_bytes is stopped and replaced."""
    with hostile(
        tmp_path, "allocate", "exec", memory_limit_bytes=300 * MEGABYTE, call_timeout_ms=60_000
    ) as found:
        assert found.provoke("exec")[1] == "MEMORY_LIMIT"
        assert_restarts(found, 1)


def test_flood_is_held_by_credit(tmp_path: Path) -> None:
    """A stream without end to a reader that stops costs bounded memory, and ends with the reader."""
    with (
        hostile(tmp_path, "flood", "write", call_timeout_ms=60_000) as found,
        found.client.session("mean", timeout_s=LIMIT_S) as session,
    ):
        session.write({"trigger": "x"})
        next(session.results())
        before = found.loader.memory_info().rss
        until_s = time.monotonic() + 1.5
        while time.monotonic() < until_s:
            found.witness.beat()
        assert found.loader.memory_info().rss - before < 32 * MEGABYTE
        session.cancel()


def test_a_generator_that_ignores_its_close_is_ended(tmp_path: Path) -> None:
    """The client is gone; the engine serves on, by itself or by a new process."""
    with hostile(tmp_path, "ignore_close", "write", **scene.HANGING) as found:
        with found.client.session("mean", timeout_s=LIMIT_S) as session:
            session.write({"trigger": "x"})
            next(session.results())
            session.cancel()
        found.assert_recovered()

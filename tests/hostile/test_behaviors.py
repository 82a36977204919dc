"""What else native code can do to its host and to the loader, one behavior a test."""

from __future__ import annotations

import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from running import until
from scene import HANGING, LIMIT_S, hostile, marked

MEGABYTE = 1 << 20


@pytest.mark.parametrize("entry", ["exec", "write", "end"])
def test_an_exception_through_the_abi_is_an_error_of_the_engine(tmp_path: Path, entry: str) -> None:
    """The host catches it; its text reaches the client, and nothing is restarted."""
    with hostile(tmp_path, "throw", entry) as scene:
        reason, name, error = scene.provoke(entry)
        assert (reason, name) == ("" if entry == "exec" else "engine_error", "ENGINE_ERROR")
        assert error is not None
        assert "thrown by the hostile wrapper" in error.engine_message
        assert scene.running.instance("mean").restarts == 0


def test_an_exception_in_create_refuses_the_session(tmp_path: Path) -> None:
    """As an error of create does."""
    with hostile(tmp_path, "throw", "create") as scene:
        reason, name, error = scene.provoke("create")
        assert (reason, name) == ("create_failed", "CREATE_FAILED")
        assert error is not None
        assert "thrown by the hostile wrapper" in error.engine_message
        assert scene.running.instance("mean").restarts == 0


@pytest.mark.parametrize("entry", ["cancel", "destroy"])
def test_an_exception_where_nobody_listens_is_dropped(tmp_path: Path, entry: str) -> None:
    """cancel and destroy have nobody to tell; the process goes on."""
    with hostile(tmp_path, "throw", entry) as scene:
        assert scene.provoke(entry)[1] == {"cancel": "CANCELLED", "destroy": ""}[entry]
        scene.assert_recovered()
        assert scene.running.instance("mean").restarts == 0


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_lies_about_sizes_are_all_refused(tmp_path: Path, entry: str) -> None:
    """The wrapper returns 7 only when the host refused every one of its false claims."""
    with hostile(tmp_path, "lie", entry) as scene:
        _, name, error = scene.provoke(entry)
        assert name == "ENGINE_ERROR"
        assert error is not None
        assert error.engine_code == 7
        assert error.engine_message == "lied"  # although it claims to be longer than its room
        assert scene.running.instance("mean").restarts == 0


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_an_error_of_the_engine_travels_unchanged(tmp_path: Path, entry: str) -> None:
    """Its code and text stand beside ours."""
    with hostile(tmp_path, "fail", entry) as scene:
        _, name, error = scene.provoke(entry)
        assert error is not None
        assert (name, error.engine_code, error.engine_message) == ("ENGINE_ERROR", 42, "as you asked")


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_a_long_error_keeps_its_code(tmp_path: Path, entry: str) -> None:
    """Where trailers have no room for every word, the words are cut and not the code."""
    with hostile(tmp_path, "fail_at_length", entry) as scene:
        _, name, error = scene.provoke(entry)
        assert error is not None
        assert (name, error.engine_code) == ("ENGINE_ERROR", 43)
        assert error.engine_message.startswith("\u8aa4" * 600)


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_a_status_that_does_not_exist_is_an_error(tmp_path: Path, entry: str) -> None:
    """It is named, and taken for nothing else."""
    with hostile(tmp_path, "strange_status", entry) as scene:
        _, name, error = scene.provoke(entry)
        assert name == "ENGINE_ERROR"
        assert error is not None
        assert "-777" in error.engine_message


def test_emits_after_destroy_reach_nobody(tmp_path: Path) -> None:
    """Later sessions in the same slot get their own results only; the late ones are refused."""
    with hostile(tmp_path, "emit_after_destroy", "write", slots=1) as scene:
        assert scene.provoke("write")[1] == ""
        for number in range(20):
            with scene.client.session("mean", timeout_s=LIMIT_S) as session:
                session.write({"n": str(number)})
                assert [result["n"] for result in session] == [str(number)]
        until(lambda: "late emits were refused" in scene.running.log_text(), "the refusal is logged", LIMIT_S)
        assert scene.running.instance("mean").restarts == 0


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_emits_of_ten_threads_all_arrive(tmp_path: Path, entry: str) -> None:
    """Each exactly once, whole."""
    with hostile(tmp_path, "ten_threads", entry) as scene:
        if entry == "exec":
            results = scene.exec({"trigger": "x"})
        else:
            with scene.client.session("mean", timeout_s=LIMIT_S) as session:
                session.write({"trigger": "x"})
                results = list(session)
        assert [result["text"] for result in results] == ["many"] * 200


@pytest.mark.parametrize("entry", ["exec", "write", "end"])
def test_a_pending_call_that_never_finishes_hangs(tmp_path: Path, entry: str) -> None:
    """PENDING does not stop the clock."""
    with hostile(tmp_path, "never_finish", entry, **HANGING) as scene:
        assert scene.provoke(entry)[:2] == ("" if entry == "exec" else "call_hung", "CALL_HUNG")
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_a_second_finish_is_refused(tmp_path: Path, entry: str) -> None:
    """The first one counts."""
    with hostile(tmp_path, "finish_twice", entry) as scene:
        assert scene.provoke(entry)[1] == ""
        assert scene.running.instance("mean").restarts == 0


def test_a_grandchild_does_not_outlive_the_loader(tmp_path: Path) -> None:
    """It ignores SIGTERM and holds every descriptor of its parent."""
    with hostile(tmp_path, "fork", "exec") as scene:
        [result] = scene.exec({"trigger": "x"})
        assert result["text"] == "forked"
        assert len(marked(scene.mark)) == 4  # loader, two hosts, the grandchild


def test_a_grandchild_does_not_keep_a_dead_host_alive(tmp_path: Path) -> None:
    """Its copy of the channel does not hide the death, and it dies with the host's group."""
    with hostile(tmp_path, "fork", "exec") as scene:
        scene.exec({"trigger": "x"})
        family = psutil.Process(scene.first_pid).children(recursive=True)
        assert len(family) == 1
        psutil.Process(scene.first_pid).kill()
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


def test_a_killed_loader_leaves_no_orphan(tmp_path: Path) -> None:
    """SIGKILL with a grandchild, a hung call and an open session: all gone within seconds."""
    with hostile(tmp_path, "fork", "exec", call_timeout_ms=60_000) as scene:
        scene.exec({"trigger": "x"})
        scene.kill()


def test_a_killed_loader_ends_a_busy_host(tmp_path: Path) -> None:
    """A call that never returns does not keep its host."""
    with hostile(tmp_path, "loop", "write", call_timeout_ms=60_000) as scene:
        session = scene.client.session("mean", timeout_s=LIMIT_S)
        session.__enter__()
        session.write({"trigger": "x"})
        busy = psutil.Process(scene.first_pid)
        until(lambda: busy.cpu_times().user > 0.3, "the call runs", LIMIT_S)
        scene.kill()


def test_closing_every_descriptor_ends_the_host(tmp_path: Path) -> None:
    """The loader sees the end of the channel and replaces the host."""
    with hostile(tmp_path, "close_all", "exec") as scene:
        assert scene.provoke("exec")[1] == "ENGINE_DIED"
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


def test_arenas_cannot_be_truncated(tmp_path: Path) -> None:
    """The seals hold: a loader whose arena shrank would die by SIGBUS."""
    with hostile(tmp_path, "truncate_arena", "exec") as scene:
        [result] = scene.exec({"trigger": "x"})
        assert result["text"] == "sealed"
        big = bytes(MEGABYTE)
        [result] = scene.exec({"x": big})
        assert result["x"] == big


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_garbage_on_the_channel_stops_the_host(tmp_path: Path, entry: str) -> None:
    """The first record that is not valid is the last one that is read."""
    with hostile(tmp_path, "garbage", entry) as scene:
        reason, name, error = scene.provoke(entry)
        assert (reason, name) == ("" if entry == "exec" else "host_died", "CHANNEL_CORRUPT")
        assert error is not None
        assert "sent a record of type unknown" in error.message
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


@pytest.mark.parametrize("entry", ["exec", "write"])
def test_references_to_the_whole_arena_cost_the_loader_nothing(tmp_path: Path, entry: str) -> None:
    """A result is judged by its head: 64 times the arena is neither opened nor copied."""
    with hostile(tmp_path, "overlap", entry) as scene:
        before = peak_bytes(scene.loader.pid)
        reason, name, error = scene.provoke(entry)
        assert (reason, name) == ("" if entry == "exec" else "host_died", "CHANNEL_CORRUPT")
        assert error is not None
        assert "sent a result of" in error.message
        assert peak_bytes(scene.loader.pid) - before < 32 * MEGABYTE
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


def peak_bytes(pid: int) -> int:
    """The most memory the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024


def test_a_gigabyte_of_output_is_bounded(tmp_path: Path) -> None:
    """It is read, dropped and counted; neither the log nor the loader's memory grows with it."""
    with hostile(tmp_path, "print", "exec", call_timeout_ms=120_000) as scene:
        before = scene.loader.memory_info().rss
        assert scene.exec({"trigger": "x"}, timeout_s=120) == []
        assert scene.loader.memory_info().rss - before < 32 * MEGABYTE
        assert len(scene.running.log_text()) < 256 * MEGABYTE
        until(lambda: scene.running.log_lines("engine output dropped"), "what was dropped is told", LIMIT_S)


def test_a_flood_of_log_is_bounded(tmp_path: Path) -> None:
    """As what it prints: a second of the limit at once, then its rate; the rest is dropped and counted."""
    with hostile(tmp_path, "log", "exec", call_timeout_ms=120_000) as scene:
        before = scene.loader.memory_info().rss
        begun = time.monotonic()
        assert scene.exec({"trigger": "x"}, timeout_s=120) == []
        until(lambda: scene.running.log_lines("engine log dropped"), "what was dropped is told", LIMIT_S)
        lasted_s = time.monotonic() - begun
        assert scene.loader.memory_info().rss - before < 32 * MEGABYTE
        logged = len(scene.running.log_lines("engine log"))
        assert 512 <= logged <= (lasted_s + 2) * MEGABYTE / 1024
        told = sum(one["dropped_bytes"] for one in scene.running.log_lines("engine log dropped"))
        assert 0 < told <= dropped_bytes(scene.running.ready["http"])


def dropped_bytes(http: str) -> float:
    """What /metrics counts of the hostile engine's output."""
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=LIMIT_S) as answer:
        lines = answer.read().decode().splitlines()
    name = 'loader_output_dropped_bytes_total{engine="mean"'
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_growth_over_the_limit_ends_the_host(tmp_path: Path) -> None:
    """The client is told that it was the memory limit."""
    with hostile(
        tmp_path, "allocate", "exec", memory_limit_bytes=256 * MEGABYTE, call_timeout_ms=60_000
    ) as scene:
        assert scene.provoke("exec")[1] == "MEMORY_LIMIT"
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


def test_a_call_that_ignores_cancel_gives_its_slot_back(tmp_path: Path) -> None:
    """The client is gone; the call's clock ends the host, and the only slot is free again."""
    with hostile(tmp_path, "ignore_cancel", "write", slots=1, **HANGING) as scene:
        with scene.client.session("mean", timeout_s=LIMIT_S) as session:
            session.write({"x": "y"})
            next(session.results())
            session.write({"trigger": "x"})
            until(lambda: scene.count("frames_in") == 2, "the call has begun", LIMIT_S)
            session.cancel()
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", LIMIT_S)


def test_a_hang_leaves_the_other_sessions_their_grace(tmp_path: Path) -> None:
    """A session beside the hung one finishes within hang_grace_ms."""
    with hostile(tmp_path, "loop", "write", hang_grace_ms=15_000, **HANGING) as scene:
        with scene.client.session("mean", timeout_s=LIMIT_S) as other:
            other.write({"x": "1"})
            next(other.results())
            assert scene.provoke("write")[:2] == ("call_hung", "CALL_HUNG")
            other.write({"x": "2"})
            assert [result["x"] for result in other] == ["2"]
            assert other.final is not None
            assert other.final.reason == "finished"
        until(lambda: scene.running.instance("mean").restarts == 1, "one restart", 30)


def test_ten_crashes_leak_nothing(tmp_path: Path) -> None:
    """Descriptors and threads after ten deaths are those before the first."""
    with hostile(tmp_path, "segfault", "write") as scene:
        for _ in range(10):
            assert scene.provoke("write")[:2] == ("host_died", "ENGINE_DIED")
            until(scene.is_serving, "it serves again", LIMIT_S)

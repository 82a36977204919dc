"""`python -m loader.host` as a process, driven over a channel by a loader's side written in Python."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import peer as p
import pytest
from peer import Peer, started

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
PROBE = HERE / "probe"
ECHO = ROOT / "wrappers" / "echo_py"
HOSTILE = ROOT / "tests" / "hostile" / "python"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """What the host wrote."""
    return tmp_path / "host.log"


@pytest.fixture
def probe(log: Path) -> Iterator[Peer]:
    """A host of the probe with one thread."""
    with started(PROBE, log) as peer:
        yield peer


def wait_until(is_true: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Looks again until it holds."""
    until_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < until_s, what
        time.sleep(0.01)


def lines(log: Path) -> list[str]:
    """The host's output so far."""
    return log.read_text().splitlines()


@pytest.mark.parametrize("size", [0, 1, 1024, 16384, 16385, 1 << 20, 12 << 20])
def test_payloads_of_every_size_come_back(probe: Peer, size: int) -> None:
    """Inside a record, in the arena, in a memory file of their own: the same bytes."""
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    if size <= 16384:
        probe.exec(1, {"do": "echo", "data": payload})
        wait = probe.wait_for(p.OF_EXEC, 1)
        assert wait.results == [{"data": payload}]
    else:
        probe.exec(1, {"do": "big", "size": str(size)})
        wait = probe.wait_for(p.OF_EXEC, 1)
        assert wait.results == [{"result": b"r" * size}]
    assert wait.completion is not None
    assert wait.completion.status == 0


def test_large_input_is_read_without_a_copy_and_echoed(log: Path) -> None:
    """A memory file from the loader becomes an item; sent on, it arrives whole."""
    payload = bytes(range(256)) * 20000
    with started(ECHO, log) as peer:
        peer.exec_large(1, "data", payload)
        assert peer.wait_for(p.OF_EXEC, 1).results == [{"data": payload}]


@pytest.mark.parametrize("threads", [1, 4])
def test_session_answers_its_frames_in_order(log: Path, threads: int) -> None:
    """100 frames written at once come back in order, then the end."""
    with started(PROBE, log, threads=threads) as peer:
        peer.create(1)
        for number in range(100):
            peer.write(1, {"data": str(number)}, seq=number + 1)
        peer.send(p.END, 1)
        wait = peer.wait_for(p.OF_END, 1)
        assert [result.get("data", b"") for result in wait.results[:-1]] == [b"%d" % n for n in range(100)]
        assert wait.results[-1] == {"result": b"end"}
        peer.destroy(1)
    assert "destroy finished" in lines(log)


def test_four_calls_run_at_once_on_four_threads(log: Path) -> None:
    """Calls that wait for each other all return: `threads` of them really overlap."""
    with started(PROBE, log, threads=4) as peer:
        for handle in range(1, 5):
            peer.exec(handle, {"do": "meet"})
        done = peer.read_until(lambda wait, _: len(wait.results) == 4).results
    assert done == [{"result": b"True"}] * 4


def test_one_thread_means_the_main_thread(log: Path) -> None:
    """With `threads: 1` init, every call and fini run on the main thread."""
    with started(PROBE, log, threads=1) as peer:
        for handle in range(1, 20):
            peer.exec(handle, {"do": "thread"})
            assert peer.wait_for(p.OF_EXEC, handle).results == [{"result": b"True"}]
        assert peer.stop() == 0
    assert lines(log) == ["init True", "fini True"]


def test_emits_of_ten_threads_arrive_whole_and_in_each_ones_order(probe: Peer) -> None:
    """200 emits from ten threads: none lost, each thread's in its order."""
    probe.exec(1, {"do": "threads"})
    seen = [result["result"].decode().split() for result in probe.wait_for(p.OF_EXEC, 1).results]
    for number in range(10):
        assert [count for one, count in seen if one == str(number)] == [str(n) for n in range(20)]


@pytest.mark.parametrize("way", ["endless", "endless_async"])
@pytest.mark.parametrize("threads", [1, 2])
def test_generator_without_credit_is_parked(log: Path, way: str, threads: int) -> None:
    """An endless stream stops at its window while others are served, and ends before destroy."""
    with started(PROBE, log, threads=threads) as peer:
        peer.create(1, way=way, records=4)
        peer.is_granting = False
        peer.write(1, {"data": b""})
        assert len(peer.wait_for_results(4)) == 4
        for handle in range(2, 12):
            peer.exec(handle, {"do": "echo", "data": b"x"})
            wait = peer.wait_for(p.OF_EXEC, handle)
            assert wait.results == [{"data": b"x"}]  # and none of the parked session
        peer.grant(1, 2, 2 * 1024)
        peer.wait_for_results(2)
        peer.send(p.CANCEL, 1, struct.pack("<i", p.CLOSE_CLIENT_GONE))
        peer.destroy(1, p.CLOSE_CLIENT_GONE)
    ended = "generator closed" if way == "endless" else "coroutine ended"
    assert lines(log)[1:3] == [ended, "destroy client_gone"]


def test_emit_without_credit_blocks_only_its_own_session(log: Path) -> None:
    """A call that waits in emit does not count towards `threads`, and cancel wakes it."""
    with started(PROBE, log, threads=2) as peer:
        peer.is_granting = False
        for handle in (1, 2, 3):
            peer.create(handle, way="blocking", records=2)
            peer.write(handle, {"data": b""})
            peer.wait_for_results(2)
        peer.exec(9, {"do": "echo", "data": b"x"})
        assert peer.wait_for(p.OF_EXEC, 9).results == [{"data": b"x"}]
        for handle in (1, 2, 3):
            peer.send(p.CANCEL, handle, struct.pack("<i", p.CLOSE_CLIENT_GONE))
            peer.destroy(handle, p.CLOSE_CLIENT_GONE)
    assert lines(log)[1:] == ["emit refused", "destroy client_gone"] * 3


def test_exception_reaches_the_caller_and_its_traceback_the_log(log: Path) -> None:
    """Type and message travel; the traceback is a log record."""
    with started(HOSTILE, log, {"behavior": "raise_error", "entry": "exec"}) as peer:
        peer.exec(1, {"trigger": "x"})
        completion = peer.wait_for(p.OF_EXEC, 1).completion
        assert completion is not None
        assert completion.status < 0
        assert completion.message == "ValueError: hostile: raised on purpose"
        assert any("Traceback" in text and "raise_error" in text for text in peer.logs)
        peer.exec(2, {"calm": "x"})
        assert peer.wait_for(p.OF_EXEC, 2).results == [{"calm": b"x"}]


def test_system_exit_does_not_end_the_host(log: Path) -> None:
    """sys.exit() in a wrapper fails its call and nothing else."""
    with started(HOSTILE, log, {"behavior": "raise_exit", "entry": "exec"}) as peer:
        peer.exec(1, {"trigger": "x"})
        completion = peer.wait_for(p.OF_EXEC, 1).completion
        assert completion is not None
        assert completion.message == "SystemExit: 7"
        assert peer.stop() == 0


@pytest.mark.parametrize("behavior", ["loop_forever", "hold_gil", "sleep_forever", "never_finish"])
def test_ping_is_answered_while_a_call_hangs(log: Path, behavior: str) -> None:
    """The thread that reads never needs the GIL."""
    with started(HOSTILE, log, {"behavior": behavior, "entry": "exec"}, threads=2) as peer:
        peer.exec(1, {"trigger": "x"})
        for nonce in range(3):
            peer.send(p.PING, 0, struct.pack("<Q", nonce))
            peer.read_until(lambda _, record: record.kind == p.PONG)


@pytest.mark.parametrize("behavior", ["loop_forever", "sleep_forever"])
def test_other_calls_go_on_beside_a_hung_one(log: Path, behavior: str) -> None:
    """With a second thread, one endless call does not stop the others."""
    with started(HOSTILE, log, {"behavior": behavior, "entry": "exec"}, threads=2) as peer:
        peer.exec(1, {"trigger": "x"})
        for handle in range(2, 5):
            peer.exec(handle, {"calm": "x"})
            assert peer.wait_for(p.OF_EXEC, handle).results == [{"calm": b"x"}]


@pytest.mark.parametrize(
    ("behavior", "said"),
    [
        ("bad_type", "TypeError: a result of type object cannot be sent"),
        ("bad_key", "the key of a result is a int"),
        ("bad_text", "UnicodeEncodeError"),
        ("bad_item", "item type 'smell' is not known"),
    ],
)
def test_bad_result_fails_its_call_and_the_host_goes_on(log: Path, behavior: str, said: str) -> None:
    """The author reads what was wrong with the result."""
    with started(HOSTILE, log, {"behavior": behavior, "entry": "exec"}) as peer:
        peer.exec(1, {"trigger": "x"})
        completion = peer.wait_for(p.OF_EXEC, 1).completion
        assert completion is not None
        assert said in completion.message
        peer.exec(2, {"calm": "x"})
        assert peer.wait_for(p.OF_EXEC, 2).results == [{"calm": b"x"}]


def test_late_emits_are_refused_and_never_arrive(log: Path) -> None:
    """After destroy nothing of that session reaches the loader."""
    with started(HOSTILE, log, {"behavior": "emit_late", "entry": "write"}) as peer:
        peer.create(1)
        peer.write(1, {"trigger": "x"})
        peer.wait_for(p.OF_WRITE, 1)
        peer.destroy(1)
        peer.exec(2, {"calm": "x"})
        assert peer.wait_for(p.OF_EXEC, 2).results == [{"calm": b"x"}]


def test_failed_init_tells_why_and_ends_the_host(log: Path) -> None:
    """The completion of init carries the exception; the process exits with 1."""
    peer = Peer([sys.executable, "-P", "-m", "loader.host"], log)
    try:
        peer.hello()
        completion = peer.init(PROBE, {"fail": True}, 1)
        assert completion.status != 0
        assert "RuntimeError: the model is missing" in completion.message
        assert peer.process.wait(20) == 1
    finally:
        peer.close()


def test_threads_of_a_failed_init_do_not_crash_the_host(log: Path) -> None:
    """They may log to the last moment: the process exits with 1 all the same."""
    peer = Peer([sys.executable, "-P", "-m", "loader.host"], log)
    try:
        peer.hello()
        completion = peer.init(PROBE, {"fail": True, "busy_threads": 3}, 1)
        assert "the model is missing" in completion.message
        assert peer.process.wait(20) == 1
    finally:
        peer.close()


def test_missing_wrapper_file_is_refused_with_the_cure(log: Path, tmp_path: Path) -> None:
    """load fails before any code of the author runs."""
    peer = Peer([sys.executable, "-P", "-m", "loader.host"], log)
    try:
        peer.hello()
        completion = peer.init(tmp_path, {}, 1)
        assert "set `entry` in engine.yaml" in completion.message
    finally:
        peer.close()


def test_other_version_of_the_loader_is_refused_with_the_pip_line(log: Path) -> None:
    """Loader and host have to be of one version; the host says what to run."""
    peer = Peer([sys.executable, "-P", "-m", "loader.host"], log)
    try:
        peer.hello(version="99.0.0")
        assert peer.process.wait(20) == 2
    finally:
        peer.close()
    assert "pip install engine-loader==99.0.0" in log.read_text()


def test_lost_loader_ends_sessions_and_the_engine(log: Path) -> None:
    """End of file on the lifeline: destroy with loader_gone, fini, and the process is gone."""
    with started(PROBE, log) as peer:
        peer.create(1)
        peer.drop_lifeline()
        peer.process.wait(20)
    assert lines(log)[1:] == ["destroy loader_gone", "fini True"]


def test_current_folder_is_not_importable(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrapper's own folder is on the path, the current one is not."""
    monkeypatch.chdir(tmp_path)
    with started(PROBE, log) as peer:
        peer.exec(1, {"do": "path"})
        [result] = peer.wait_for(p.OF_EXEC, 1).results
    assert str(PROBE).encode() in result["path"]
    assert f'"{tmp_path}"'.encode() not in result["path"]
    assert b'""' not in result["path"]


def test_health_is_asked(log: Path) -> None:
    """A wrapper whose health raises is reported unhealthy with the reason."""
    with started(HOSTILE, log, {"behavior": "raise_error", "entry": "health"}) as peer:
        peer.send(p.HEALTH, 0)
        completion = peer.wait_for(p.OF_HEALTH).completion
        assert completion is not None
        assert "raised on purpose" in completion.message


def test_failed_create_has_no_session(log: Path) -> None:
    """create's exception is the completion of create, and the handle names nothing."""
    with started(HOSTILE, log, {"behavior": "raise_error", "entry": "create"}) as peer:
        completion = peer.create(1)
        assert completion.operation == p.OF_CREATE
        assert "raised on purpose" in completion.message


def test_module_logging_reaches_the_loader(probe: Peer) -> None:
    """What a wrapper logs with the standard module becomes a log record, from INFO on."""
    probe.exec(1, {"do": "logs"})
    probe.wait_for(p.OF_EXEC, 1)
    assert "mine: seen 7" in probe.logs

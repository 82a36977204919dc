"""How a command starts and ends, without a loader: handshakes that are none, and no orphan whoever is killed."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from google.protobuf import descriptor_pool
from plugin_command import command_of
from running import Running

from loader.compat.aiges.plugin.engine import CommandEngine
from loader.wrapper import Config, Error

LIMIT_S = 20


def refusal_of(words: list[str], limit_s: float = LIMIT_S, **config: str) -> str:
    engine = CommandEngine()
    with pytest.raises(Error) as raised:
        engine.init(Config({"loader.command": {"words": words, "init_timeout_s": limit_s}, **config}))
    assert raised.value.code == 10901
    assert engine._child is not None
    assert not engine._child.pid or not psutil.pid_exists(engine._child.pid)
    return raised.value.message


def shell(text: str) -> list[str]:
    return ["bash", "-c", text]


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo '1|1|tcp'; sleep 60", "its handshake line is '1|1|tcp': CORE|APP|NETWORK|ADDRESS|PROTOCOL"),
        ("echo '1|1|tcp|nowhere|grpc'; sleep 60", "its handshake line names no address"),
        (
            "echo '1|2|tcp|127.0.0.1:1|grpc'; sleep 60",
            "version 2 of AIGES's protocol, and 1 of both is known here",
        ),
        ("echo '1|1|tcp|127.0.0.1:1|netrpc'; sleep 60", "it speaks netrpc, not grpc"),
        ("echo '1|1|tcp|127.0.0.1:1|grpc|MIIC'; sleep 60", "it wants TLS"),
        (
            "echo hello; echo boom >&2; exit 7",
            "it ended before its handshake line: exit code 7; it printed: boom",
        ),
        ("kill -9 $$", "it ended before its handshake line: killed by SIGKILL"),
        # Of the signals that Python ignores none is ignored in the command, as under AIGES.
        ("kill -PIPE $$; exit 7", "it ended before its handshake line: killed by SIGPIPE"),
        (
            "echo 'RuntimeError: Failed to bind to address [::]:50055' >&2; exit 1",
            "its port is another process's: end that, or change one's port (that of `aiges.serve` is 50055)",
        ),
        ("echo '1|1|tcp|127.0.0.1:1|grpc'; exit 3", "it ended: exit code 3"),
    ],
)
def test_a_command_that_does_not_serve_is_told_why(script: str, text: str) -> None:
    """What it said, and what is expected; nothing of it stays."""
    message = refusal_of(shell(script))
    assert message.startswith("the command does not serve: ")
    assert text in message


def test_a_command_without_a_handshake_in_time() -> None:
    """A bound below init_timeout_s, so that it is told what the command printed."""
    message = refusal_of(shell("echo hello; sleep 60"), limit_s=4)
    assert "it has not printed its handshake line in " in message
    assert "it printed: hello" in message


def test_a_port_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded, too."""
    monkeypatch.setattr("loader.compat.aiges.plugin.engine.ENDING_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    message = refusal_of(shell(f"echo '1|1|tcp|127.0.0.1:{port}|grpc'; sleep 60"), limit_s=4)
    assert f"at 127.0.0.1:{port} its health check failed: " in message


def test_a_program_that_there_is_not() -> None:
    """It is not started at all."""
    assert "there is no program pythn" in refusal_of(["pythn", "-m", "aiges.serve"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("echo no first line", "Exec format error"), ("#!/no/python", "No such file or directory")],
)
def test_a_program_that_does_not_begin(tmp_path: Path, text: str, expected: str) -> None:
    """Told in a sentence, not in the lines of a traceback."""
    program = tmp_path / "program"
    program.write_text(text)
    program.chmod(0o755)
    said = f"it printed: {program} cannot be started: {expected}: see its mode and first line;code="
    assert said in refusal_of([str(program)])


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"ret": "30002"}, "wrapperInit returned an error;code=30002"),
        ({"init": "die"}, "it ended: exit code 9; it printed: "),
    ],
)
def test_a_failed_init_is_told(code: Path, config: dict[str, str], text: str) -> None:
    """With its code, or with how the command ended."""
    assert text in refusal_of(command_of(code, "tcp"), **config)


def test_a_command_with_a_single_thread_is_refused(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream of results takes it, so that no call would ever be answered."""
    monkeypatch.setenv("THREADS", "1")
    monkeypatch.setattr("loader.compat.aiges.plugin.engine.HEALTH_S", 0.5)
    message = refusal_of(command_of(code, "tcp"))
    assert "it does not answer while the stream of its results is open: " in message
    assert "it needs a second thread" in message


def test_an_engine_from_init_to_fini(code: Path) -> None:
    """fini ends the command; the messages are in no pool that others use."""
    engine = CommandEngine()
    words = command_of(code, "tcp")
    engine.init(Config({"loader.command": {"words": words, "init_timeout_s": LIMIT_S}}))
    assert engine._child is not None
    engine.health()
    child = psutil.Process(engine._child.pid)
    assert child.cmdline() == words
    engine.fini()
    assert not child.is_running()
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("aiges.Ret")


HOST = """
import os, sys
from loader.compat.aiges.plugin.child import Child
child = Child(["bash", "-c", "echo '1|1|unix|/tmp/x|grpc'; exec sleep 60"], lambda: None)
child.start()
child.address(20)
os.write(2, b"%d" % child.pid)
os.close(2)
sys.stdin.read()
"""


def test_a_command_ends_with_a_host_that_nobody_tidies_up_after() -> None:
    """SIGKILL of the process that started it, without a loader that would end its group."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", HOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as host:
        limit = threading.Timer(LIMIT_S, host.kill)
        limit.start()
        assert host.stderr is not None
        child = psutil.Process(int(host.stderr.read()))
        host.kill()
        _, alive = psutil.wait_procs([child], timeout=LIMIT_S)
        limit.cancel()
        for one in alive:
            one.kill()
    assert not alive


def test_no_orphan_after_sigkill_of_the_loader(code: Path, tmp_path: Path) -> None:
    """Its hosts end their groups: also what the command started itself."""
    words = shlex.join(command_of(code, "tcp"))
    engines = {"one": {"command": f"sleep 600 & {words} & wait", "restart": {"intensity": 0}}}
    with Running(tmp_path, json.dumps({"engines": engines})) as running:
        [host] = psutil.Process(running.process.pid).children()
        family = host.children(recursive=True)
        assert len(family) == 3
        running.process.kill()
        _, alive = psutil.wait_procs(family, timeout=LIMIT_S)
    assert not alive

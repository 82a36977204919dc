"""The commands against a running loader: call, describe, check, version."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from running import Running, command

import loader

Start = Callable[..., Running]
Write = Callable[..., Path]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)


def test_call_execs_and_prints_each_result(start: Start, wrapper: Write) -> None:
    """One JSON line a result."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    done = run("call", "echo", "--item", "text=hello", "--address", running.ready["grpc"])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"text": "hello"}


def test_call_opens_a_session(start: Start, wrapper: Write) -> None:
    """--session sends the items in a frame and prints until the final."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    done = run("call", "echo", "--session", "--item", "text=hi", "--address", running.ready["grpc"])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"text": "hi"}


def test_a_failed_call_says_who_must_act(start: Start, wrapper: Write) -> None:
    """Exit code 1, the error's name and code, and no traceback."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}}}}}")
    done = run("call", "nobody", "--item", "text=hi", "--address", running.ready["grpc"])
    assert done.returncode == 1
    assert "UNKNOWN_ENGINE 1002" in done.stderr
    assert "who must act: client" in done.stderr
    assert "Traceback" not in done.stderr


def test_describe_tells_the_engines(start: Start, wrapper: Write) -> None:
    """As JSON for scripts."""
    running = start(f"engines: {{echo: {{wrapper: {wrapper('echo')}, slots: 3}}}}")
    row = json.loads(run("describe", "--json", "--address", running.ready["grpc"]).stdout)
    assert (row["name"], row["state"], row["exec"], row["sessions"]) == ("echo", "ready", True, True)


def test_describe_shows_a_table_to_people(start: Start, wrapper: Write) -> None:
    """Name, version, state, slots, what it offers, and each declared value."""
    source = """
        from loader import Int, Text, Wrapper

        class Declared(Wrapper):
            inputs = {"words": Text(description="what is said")}
            parameters = {"beam": Int(8, minimum=1, maximum=64)}

            def exec(self, request):
                return {"text": "x"}
    """
    running = start(f"engines: {{declared: {{wrapper: {wrapper('declared', source)}, slots: 3}}}}")
    done = run("describe", "--address", running.ready["grpc"])
    assert done.returncode == 0
    head, *rows = [line.split() for line in done.stdout.splitlines()]
    assert head == ["declared", "1", "ready", "3", "slots", "exec"]
    assert rows[0][:3] == ["input", "words", "text"]
    assert rows[1][:2] == ["parameter", "beam"]
    assert "maximum 64" in " ".join(done.stdout.split())


def test_check_tells_what_a_wrapper_has(wrapper: Write) -> None:
    """A wrapper is loaded, not initialised."""
    done = run("check", str(wrapper("echo")))
    assert done.returncode == 0
    assert "powers: exec, create" in done.stdout


def test_check_refuses_a_wrapper_without_calls(wrapper: Write) -> None:
    """Exit code 3, the file and the cure."""
    path = wrapper("empty", "from loader import Wrapper\nclass Empty(Wrapper): ...\n")
    done = run("check", str(path))
    assert done.returncode == 3
    assert str(path) in done.stderr


def test_check_survives_a_wrapper_that_crashes_at_import(wrapper: Write) -> None:
    """The crash is told, not shared."""
    done = run("check", str(wrapper("crash", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")))
    assert done.returncode == 3
    assert "crashed" in done.stderr


def test_check_reads_a_configuration_and_every_wrapper(wrapper: Write, tmp_path: Path) -> None:
    """All engines are tried, the good and the bad."""
    bad = wrapper("bad", "x = 1\n")
    file = tmp_path / "c.yaml"
    file.write_text(f"engines: {{good: {{wrapper: {wrapper('good')}}}, bad: {{wrapper: {bad}}}}}")
    done = run("check", str(file))
    assert done.returncode == 3
    assert "engine good 1: python" in done.stdout
    assert "engine bad:" in done.stderr


def test_version_is_the_packages() -> None:
    """One line."""
    assert run("version").stdout.startswith(
        f"engine-loader {loader.__version__} (native parts {loader.__version__})"
    )

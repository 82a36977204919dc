"""`loader check`: told by content, with the reason and the cure, whatever a wrapper does while it is loaded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
LIBRARIES = Path(os.environ.get("HOSTILE_LIBRARIES", CHECKOUT / "build" / "hostile"))
PROGRAM = str(Path(sys.executable).with_name("loader"))

GOOD = """
    from loader import Wrapper

    class Good(Wrapper):
        def exec(self, request):
            return None
"""


def check(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [PROGRAM, "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 3), done.stderr
    return done


def module(folder: Path, source: str) -> Path:
    path = folder / "wrapper.py"
    path.write_text(dedent(source))
    return path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def x(:\n", "wrapper.py:1: SyntaxError: invalid syntax: correct the wrapper"),
        ("import json\nimport no_such_module\n", "wrapper.py:2: ModuleNotFoundError: No module named"),
        ("x = 1\nraise RuntimeError('boom')\n", "wrapper.py:2: RuntimeError: boom: correct the wrapper"),
        (
            "import sys\nprint('hello')\nsys.exit(0)\n",
            "wrapper.py:3: the module ends the process (SystemExit: 0)",
        ),
        (
            "import os\nprint('hello')\nos._exit(0)\n",
            "ended the process with exit code 0: it must not end it",
        ),
        (
            "import os\nos.write(2, b'why\\n')\nos.abort()\n",
            "crashed the process (signal SIGABRT); it printed: why",
        ),
    ],
)
def test_a_module_that_does_not_load_is_told_with_its_line(tmp_path: Path, source: str, message: str) -> None:
    """Exit code 3, one line, no traceback of ours."""
    done = check(module(tmp_path, source))
    assert done.returncode == 3
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "print('{}')",
        "import os; os.write(1, b'\\xff\\xfe\\n')",
        "import atexit; atexit.register(print, 'bye')",
        "import threading, time; threading.Thread(target=time.sleep, args=(300,)).start()",
        "import subprocess; subprocess.Popen(['sleep', '300'])",
    ],
)
def test_what_a_module_prints_or_leaves_behind_is_its_own_business(tmp_path: Path, line: str) -> None:
    """It loads; that is what was asked."""
    done = check(module(tmp_path, line + dedent(GOOD)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "loads as Good" in done.stdout


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ("wrong_major", "it was built for wrapper ABI 2.1, this host speaks 1.1"),
        ("missing_entry", "has no entry `fini`"),
        ("truncated", "struct_size 48"),
        ("unresolved", "undefined symbol a_function_that_nobody_defines"),
        ("bad_describe", "describe() does not return a JSON object"),
    ],
)
def test_a_library_that_does_not_load_is_told_with_its_reason(library: str, message: str) -> None:
    """The words of the host that refused it."""
    done = check(LIBRARIES / f"{library}.so")
    assert done.returncode == 3
    assert message in done.stderr


def test_a_good_library_is_shown() -> None:
    """Its powers and what it declares."""
    done = check(LIBRARIES / "echo_c.so")
    assert (done.returncode, done.stderr) == (0, "")
    assert "native" in done.stdout
    assert "loads as echo_c 1.0.0, ABI 1." in done.stdout


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    """A configuration under any name is one; so is a manifest in its folder."""
    wrapper = module(tmp_path, GOOD)
    config = tmp_path / "service.conf"
    config.write_text(f"engines: {{good: {{wrapper: {wrapper}}}}}")
    assert "a configuration of 1 engines" in check(config).stdout
    (tmp_path / "engine.yaml").write_text("name: nice\nkind: python\n")
    assert "wrapper nice: python" in check(tmp_path / "engine.yaml").stdout
    assert "wrapper nice: python" in check(tmp_path).stdout
    (tmp_path / "mine.yaml").write_text("name: nice\nkind: python\n")
    assert "a manifest is called engine.yaml: rename it" in check(tmp_path / "mine.yaml").stderr


def test_the_engines_environment_and_folder_are_those_of_serving(tmp_path: Path) -> None:
    """What a wrapper reads from its environment while it is loaded is there."""
    wrapper = module(
        tmp_path, "import os\nMODEL = os.environ['MY_MODEL']\nopen('beside.txt')\n" + dedent(GOOD)
    )
    (tmp_path / "beside.txt").write_text("")
    engine = {"wrapper": str(wrapper), "environment": {"MY_MODEL": "m"}}
    (tmp_path / "c.yaml").write_text(json.dumps({"engines": {"e": engine}}))
    assert check(tmp_path / "c.yaml").returncode == 0


def test_every_version_of_an_engine_is_checked(tmp_path: Path) -> None:
    """The one that does not load is told."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    good, bad = module(tmp_path / "one", GOOD), module(tmp_path / "two", "raise OSError('gone')\n")
    versions = {"1": {"wrapper": str(good)}, "2": {"wrapper": str(bad)}}
    (tmp_path / "c.yaml").write_text(json.dumps({"engines": {"e": {"versions": versions}}}))
    done = check(tmp_path / "c.yaml")
    assert done.returncode == 3
    assert "engine e 1: python" in done.stdout
    assert "OSError: gone" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"engines: {e: {wrapper: x, config: !include y}}", "the tag `!include` is not known here"),
        (b"service: \xff\n", "not UTF-8 text at byte 9"),
        (b"\x00\x01\x02", "c.conf:1: the character U+0000 cannot stand in YAML"),
    ],
)
def test_a_file_that_is_nothing_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """Clearly, and by its name."""
    (tmp_path / "c.conf").write_bytes(content)
    done = check(tmp_path / "c.conf")
    assert done.returncode == 3
    assert message in done.stderr


def test_an_interpreter_that_cannot_run_is_refused(tmp_path: Path) -> None:
    """A file with the right to be run, and nothing that could be."""
    program = tmp_path / "python"
    program.write_bytes(b"\x01\x02garbage")
    program.chmod(0o755)
    engine = {"wrapper": str(module(tmp_path, GOOD)), "python": "./python"}
    (tmp_path / "c.yaml").write_text(json.dumps({"engines": {"e": engine}}))
    done = check(tmp_path / "c.yaml")
    assert done.returncode == 3
    assert f"engines.e.python: {program} cannot be run: Exec format error" in done.stderr


# ---------------------------------------------------------------- centers


def service(folder: Path, name: str = "service.yaml") -> Path:
    """A configuration whose engine stands in another document."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engines.yaml").write_text(f"engines: {{good: {{wrapper: {module(folder, GOOD)}}}}}")
    (folder / name).write_text("service: checked\ninclude: engines.yaml\n")
    return folder / name


def test_what_a_file_includes_is_checked(tmp_path: Path) -> None:
    """Together, as it is served; a mistake is told with the document it stands in."""
    file = service(tmp_path)
    done = check(file)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"a configuration of 1 engines with {tmp_path / 'engines.yaml'}" in done.stdout
    assert "engine good" in done.stdout
    (tmp_path / "engines.yaml").write_text("engines:\n  good:\n    wrappper: x\n")
    done = check(file)
    assert done.returncode == 3
    assert f"{tmp_path / 'engines.yaml'}:3: engines.good.wrappper" in done.stderr


def test_a_missing_include_is_told_with_its_line(tmp_path: Path) -> None:
    """Of the document that asks for it."""
    file = service(tmp_path)
    (tmp_path / "engines.yaml").unlink()
    done = check(file)
    assert done.returncode == 3
    assert f"{file}:2: the included document {tmp_path / 'engines.yaml'} does not exist" in done.stderr


@pytest.mark.parametrize("is_directory", [False, True])
def test_a_bootstrap_is_followed_to_its_center(tmp_path: Path, is_directory: bool) -> None:
    """A file or a directory; what the node says over it counts."""
    file = service(tmp_path / "center")
    center = file.parent if is_directory else file
    bootstrap = tmp_path / "node.yaml"
    bootstrap.write_text(f"center: file:center{'' if is_directory else '/service.yaml'}\nnode: n1\n")
    done = check(bootstrap)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"a configuration of 1 engines, from file:{center}" in done.stdout
    assert "loads as Good" in done.stdout
    bootstrap.write_text("center: file:center/nowhere.yaml\n")
    done = check(bootstrap)
    assert done.returncode == 3
    assert "nowhere.yaml: cannot be read: No such file or directory" in done.stderr


def test_a_directory_is_a_center_or_a_wrappers_folder(tmp_path: Path) -> None:
    """Told by what is in it."""
    service(tmp_path / "center")
    assert "a configuration of 1 engines" in check(tmp_path / "center").stdout
    assert "a configuration of 1 engines" in check(f"file:{tmp_path / 'center'}").stdout


def test_consul_is_asked(shared_consul: Any, tmp_path: Path) -> None:
    """By a bootstrap and by its URL, and a mistake in it is told."""
    agent, prefix = shared_consul, "checked"
    agent.put(f"{prefix}/config/service.yaml", f"engines: {{good: {{wrapper: {module(tmp_path, GOOD)}}}}}")
    url = f"consul://{agent.address}/{prefix}"
    (tmp_path / "node.yaml").write_text(f"center: {url}\n")
    for what in (tmp_path / "node.yaml", url):
        done = check(what)
        assert (done.returncode, done.stderr) == (0, "")
        assert "a configuration of 1 engines" in done.stdout
    agent.put(f"{prefix}/config/service.yaml", "enginse: {}\n")
    done = check(tmp_path / "node.yaml")
    assert done.returncode == 3
    assert "enginse" in done.stderr


def test_a_center_out_of_reach_is_told(tmp_path: Path) -> None:
    """In bounded time, with its address."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    (tmp_path / "node.yaml").write_text(f"center: consul://127.0.0.1:{port}/x\n")
    done = check(tmp_path / "node.yaml")
    assert done.returncode == 3
    assert f"127.0.0.1:{port}" in done.stderr


def test_a_command_is_looked_at_and_not_started(tmp_path: Path) -> None:
    """Its words, where it begins, whether there is such a program; a value from the environment is not shown."""
    (tmp_path / "service.yaml").write_text(
        "engines:\n"
        "  good: {command: [sh, -c, 'touch started']}\n"
        "  shell: {command: 'exec serve --token ${TOKEN:-secret}'}\n"
        "  bad: {command: [pythn, -m, aiges.serve]}\n"
        "  near: {command: [./serve]}\n"
        "  gone: {command: [./gone]}\n"
    )
    (tmp_path / "serve").touch(0o755)
    done = check(tmp_path / "service.yaml")
    assert done.returncode == 3
    assert "engine good 1: command, sh -c 'touch started'\n" in done.stdout
    assert f"  begins in {tmp_path}; speaks AIGES's plug-in protocol" in done.stdout
    assert "engine shell 1: command, (from the environment)\n" in done.stdout
    assert "engine bad: command: there is no program pythn: correct it, or PATH" in done.stderr
    assert "engine near 1: command, ./serve\n" in done.stdout
    assert f"engine gone: command: there is no program {tmp_path}/gone: correct it" in done.stderr
    assert "secret" not in done.stdout + done.stderr
    assert not (tmp_path / "started").exists()

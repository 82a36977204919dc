"""Engines with interpreters of their own: who runs them, side by side, and which interpreters are refused."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from running import Running, command, until

import loader
from loader.client import Client

Start = Callable[..., Running]

PACKAGE = Path(loader.__file__ or "").parent
LIMIT_S = 20

WHO = """
    import sys
    import conflicting
    from loader import Wrapper

    class Who(Wrapper):
        def exec(self, request):
            return {"python": sys.executable, "prefix": sys.prefix, "dependency": conflicting.VERSION}
"""

# A host of another build, as far as the loader ever gets to see it: its first record. What follows is waited for.
OLD_HOST = """
    import os, socket, struct, sys

    def text(value):
        return struct.pack("<I", len(value)) + value.encode()

    MAGIC, PROTOCOL, ABI, PYTHON, HELLO = 0x3143444C, 2, 1, 2, 1
    channel = socket.socket(fileno=int(sys.argv[sys.argv.index("--channel") + 1].split(",")[0]))
    body = struct.pack("<8I", MAGIC, PROTOCOL, ABI, 0, 0, 1, os.getpid(), PYTHON)
    body += text("0.0.1") + text(f"python 3 {sys.executable}")
    channel.sendall(struct.pack("<IHHQ", 16 + len(body), HELLO, 0, 0) + body)
    while channel.recv(65536):
        pass
"""


class Interpreter:
    """A virtual environment without pip."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.packages = Path(self.packages_of(self.python))

    @staticmethod
    def packages_of(python: Path) -> str:
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def install(self) -> Interpreter:
        """Engine Loader alone, as `pip install --no-deps` lays it out: a host needs nothing else."""
        shutil.copytree(PACKAGE, self.packages / "loader")
        return self

    def depend(self, version: str) -> Interpreter:
        """A dependency that others want in another version."""
        (self.packages / "conflicting.py").write_text(f"VERSION = {version!r}\n")
        return self

    def pretend(self, version: str) -> None:
        """As if another version had been installed over the one that is there."""
        file = self.packages / "loader" / "__init__.py"
        text = file.read_text()
        assert f'__version__ = "{loader.__version__}"' in text
        file.write_text(text.replace(loader.__version__, version))


def who(folder: Path) -> Path:
    path = folder / "who.py"
    path.write_text(dedent(WHO))
    return path


def config(**engines: dict[str, object]) -> str:
    return json.dumps({"engines": engines})


def refusal(folder: Path, python: Path | str) -> str:
    """What a loader says that does not start."""
    file = folder / "service.yaml"
    file.write_text(config(who={"wrapper": str(who(folder)), "python": str(python)}))
    arguments = command("--config", str(file), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_two_engines_with_conflicting_dependencies_run_side_by_side(start: Start, tmp_path: Path) -> None:
    """Each in the interpreter that it names, with that interpreter's packages; a link is not followed out of it."""
    wrapper = str(who(tmp_path))
    pythons = {
        "one": Interpreter(tmp_path / "one").install().depend("1.0"),
        "two": Interpreter(tmp_path / "two").install().depend("2.0"),
    }
    running = start(
        config(**{name: {"wrapper": wrapper, "python": str(one.python)} for name, one in pythons.items()})
    )
    with Client(running.ready["grpc"]) as client:
        for name, version in (("one", "1.0"), ("two", "2.0")):
            [said] = client.exec(name, {"x": "?"}, timeout_s=LIMIT_S)
            own = pythons[name]
            assert said["python"] == str(own.python)
            assert said["prefix"] == str(own.folder)
            assert said["dependency"] == version
            instance = running.instance(name)
            assert Path(f"/proc/{instance.pid}/cmdline").read_bytes().startswith(str(own.python).encode())


def test_a_relative_interpreter_lies_beside_the_configuration(start: Start, tmp_path: Path) -> None:
    """As every path of a configuration."""
    Interpreter(tmp_path / "env").install().depend("3.0")
    running = start(config(who={"wrapper": str(who(tmp_path)), "python": "env/bin/python"}))
    with Client(running.ready["grpc"]) as client:
        [said] = client.exec("who", {"x": "?"}, timeout_s=LIMIT_S)
    assert said["python"] == str(tmp_path / "env" / "bin" / "python")


def test_an_interpreter_without_engine_loader_is_refused_with_the_line_that_installs_it(
    tmp_path: Path,
) -> None:
    """At the start, before anything runs."""
    python = Interpreter(tmp_path / "env").python
    cure = f"run `{python} -m pip install engine-loader=={loader.__version__}`"
    said = refusal(tmp_path, python)
    assert f"{python} has engine-loader none, {loader.__version__} is needed: {cure}" in said
    assert loader.__version__ == importlib.metadata.version("engine-loader")


def test_an_interpreter_with_another_version_is_refused_with_both(tmp_path: Path) -> None:
    """And with the same line."""
    other = Interpreter(tmp_path / "env").install()
    other.pretend("0.0.1")
    cure = f"run `{other.python} -m pip install engine-loader=={loader.__version__}`"
    assert f"has engine-loader 0.0.1, {loader.__version__} is needed: {cure}" in refusal(
        tmp_path, other.python
    )


@pytest.mark.parametrize(
    ("name", "says"), [("nowhere/python", "is no program"), ("true", "has engine-loader")]
)
def test_what_is_no_interpreter_is_refused(tmp_path: Path, name: str, says: str) -> None:
    """By its path."""
    python = shutil.which(name) or str(tmp_path / name)
    assert f"engines.who.python: {python} {says}" in refusal(tmp_path, python)


def test_the_hello_refuses_a_host_of_another_version(start: Start, tmp_path: Path) -> None:
    """The start's check saw the right version; the host that then speaks is another. Said once, not tried again."""
    stale = Interpreter(tmp_path / "env")
    package = stale.packages / "loader"
    (package / "host").mkdir(parents=True)
    (package / "__init__.py").write_text(f"__version__ = {loader.__version__!r}\n")
    (package / "host" / "__init__.py").touch()
    (package / "host" / "__main__.py").write_text(dedent(OLD_HOST))
    good = {
        "wrapper": str(who(tmp_path)),
        "python": str(Interpreter(tmp_path / "good").install().depend("1").python),
    }
    running = start(config(who={"wrapper": str(who(tmp_path)), "python": str(stale.python)}, good=good))
    status = running.instance("who")
    assert status.state == "failed"
    said = status.error
    assert f"Loader and engine host are of different versions: {loader.__version__} and 0.0.1." in said
    assert str(stale.python) in said
    assert f"pip install engine-loader=={loader.__version__}" in said
    assert status.restarts == 0
    with Client(running.ready["grpc"]) as client:
        assert client.exec("good", {"x": "?"}, timeout_s=LIMIT_S)[0]["dependency"] == "1"


def test_an_upgrade_of_half_a_package_is_told_when_the_host_starts_again(
    start: Start, tmp_path: Path
) -> None:
    """Python files of one version, the compiled part of another: the host names the cure and does not serve."""
    own = Interpreter(tmp_path / "env").install().depend("1.0")
    restart = {"backoff_s": 0.01, "backoff_max_s": 0.05, "intensity": 2}
    running = start(
        config(who={"wrapper": str(who(tmp_path)), "python": str(own.python), "restart": restart})
    )
    [host] = running.hosts()
    own.pretend("9.9.9")
    host.send_signal(signal.SIGKILL)
    until(lambda: running.instance("who").state == "failed", "the engine is given up")
    cure = f"run `{own.python} -m pip install --force-reinstall engine-loader==9.9.9`"
    lines = until(
        lambda: [x["line"] for x in running.log_lines("engine output") if cure in x["line"]], "the cure"
    )
    assert f"loader 9.9.9 found its compiled part in version {loader.__version__}" in lines[0]
    assert sys.executable != str(own.python)

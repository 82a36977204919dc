"""Every snippet of the README and the tutorials is what it says: files are written, commands are run."""

from __future__ import annotations

import json
import re
import selectors
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("README.md", "docs/tutorial/python.md", "docs/tutorial/cpp.md")
FILE = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
PROGRAM = re.compile(r"<!-- run: \S+ -->\n```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
LOADER = Path(sys.executable).with_name("loader")
READY_TIMEOUT_S = 60


def commands(text: str) -> list[tuple[list[str], str]]:
    """Each `$` line of the console blocks with the output under it."""
    found: list[tuple[list[str], str]] = []
    for block in CONSOLE.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((shlex.split(command), output))
    return found


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str]]:
    """The loader on service.yaml; gives its gRPC and its HTTP address."""
    command = [str(LOADER), "--config", "service.yaml", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_TIMEOUT_S), "the loader was not ready in time"
            ready = json.loads(process.stdout.readline())
            yield ready["grpc"], ready["http"]
        finally:
            process.terminate()
            assert process.wait(30) == 0


def compile_wrapper(command: list[str], folder: Path) -> None:
    """Runs a compiler's line; `$(loader include)` in it is what the installed loader says."""
    said = subprocess.run([str(LOADER), "include"], capture_output=True, text=True, check=True, timeout=60)
    built = [said.stdout.strip() if word == "$(loader include)" else word for word in command]
    subprocess.run(built, cwd=folder, check=True, timeout=120)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_shows(page: str, tmp_path: Path) -> None:
    """The files of a page, its commands and its programs give the output that is printed there."""
    text = (ROOT / page).read_text()
    for name, content in FILE.findall(text):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    todo = commands(text)
    for command, _ in todo:
        if command[0] == "g++":
            compile_wrapper(command, tmp_path)
    for command, _ in todo:
        if command[:2] == ["loader", "check"]:
            subprocess.run([str(LOADER), *command[1:]], cwd=tmp_path, check=True, timeout=60)
    calls = [(command, output) for command, output in todo if command[:2] == ["loader", "call"]]
    assert calls
    with serving(tmp_path) as (address, http):
        for command, output in [(command, output) for command, output in todo if command[0] == "curl"]:
            words = [word.replace("127.0.0.1:8000", http) for word in command]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout == output.removesuffix("\n"), done.stderr
        for command, output in calls:
            words = [str(LOADER), *command[1:], "--address", address]
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout == output, done.stderr
        for program, output in PROGRAM.findall(text):
            source = program.replace("127.0.0.1:8001", address)
            run = [sys.executable, "-c", source]
            done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout == output, done.stderr


def commands_of_readme() -> set[str]:
    """What the README tells to type in a shell, other than `loader`, line by line."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = {line for block in blocks for line in block.replace("\\\n", " ").splitlines()}
    return lines | set(re.findall(r"`((?:make|LOADER_CLIENT_ONLY|pip) ?[^`]+)`", text))


def test_every_other_command_of_the_readme_is_run_by_some_test() -> None:
    """Of a command that nobody runs nobody knows whether it works: a new one needs a line here, and a test."""
    makefile = (ROOT / "Makefile").read_text()
    packages = " ".join(re.findall(r"^APT_PACKAGES := ((?:.*\\\n)*.*)$", makefile, re.MULTILINE)).split()
    for command in commands_of_readme():
        words = command.split()
        if words[:3] == ["sudo", "apt-get", "install"]:
            assert set(words[3:]) <= set(packages)  # `make setup` installs them, in CI from nothing
        elif words[0] == "make":
            done = subprocess.run(
                ["make", "--dry-run", *words[1:]],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
        else:
            # What `make build` runs, and tests/integration/packaging.
            assert command in ("pip install .", "LOADER_CLIENT_ONLY=1 pip install .")


@pytest.mark.parametrize(
    "page", sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
)
def test_links_lead_somewhere(page: str) -> None:
    """Every relative link of a page names a file or folder of this repository."""
    broken = [x for x in LINK.findall((ROOT / page).read_text()) if not ((ROOT / page).parent / x).exists()]
    assert broken == []


def test_the_session_diagram_is_drawn_from_the_table() -> None:
    """The page and the code say the same."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/draw_lifecycle.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr

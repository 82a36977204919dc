"""Compiles C and C++ sources against the headers, as an engine author would: no CMake, no loader."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INCLUDE = ROOT / "cpp" / "include"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fvisibility=hidden")
sys.path.insert(0, str(ROOT / "wrappers" / "common"))

Compile = Callable[..., "subprocess.CompletedProcess[str]"]


def run_compiler(standard: str, source: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Compiles `source` under `standard` with every warning an error."""
    compiler = "g++" if standard.startswith("c++") else "gcc"
    if shutil.which(compiler) is None:
        pytest.fail(f"{compiler} is not installed: run `apt-get install build-essential`")
    command = [compiler, f"-std={standard}", *STRICT, f"-I{INCLUDE}", *flags, str(source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="session")
def compiler() -> Compile:
    """`compiler(standard, source, *flags)`, as run_compiler."""
    return run_compiler


@pytest.fixture(scope="session", params=["echo_c", "echo_cpp"])
def echo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An echo wrapper as a shared library of its own."""
    source = next((ROOT / "wrappers" / request.param).glob("wrapper.c*"))
    library = tmp_path_factory.mktemp(request.param) / "wrapper.so"
    standard = "c11" if source.suffix == ".c" else "c++17"
    built = run_compiler(standard, source, "-fPIC", "-shared", "-o", str(library))
    assert built.returncode == 0, built.stderr
    return library


@pytest.fixture(scope="session")
def compile_text(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """`compile_text(standard, text)`: does this source compile?"""
    folder = tmp_path_factory.mktemp("compile")

    def compile_it(standard: str, text: str) -> subprocess.CompletedProcess[str]:
        source = folder / ("source.cpp" if standard.startswith("c++") else "source.c")
        source.write_text(text)
        return run_compiler(standard, source, "-fsyntax-only")

    return compile_it

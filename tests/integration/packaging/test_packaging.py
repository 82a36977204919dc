"""What installing gives and needs: the files of the package, the client without a compiler, names of packages."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.metadata import files
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# A library that the native build needs: how CMake is kept from finding it, and what must be named.
EMPTY_ROOT = ("-DCMAKE_FIND_ROOT_PATH=/nonexistent", "-DCMAKE_FIND_ROOT_PATH_MODE_INCLUDE=ONLY")
MISSING = {
    "libnghttp2-dev": EMPTY_ROOT,
    "libssl-dev": ("-DCMAKE_DISABLE_FIND_PACKAGE_OpenSSL=ON",),
    "zlib1g-dev": ("-DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON",),
    "libprotobuf-dev protobuf-compiler": ("-DCMAKE_DISABLE_FIND_PACKAGE_Protobuf=ON",),
}
OLD_NGHTTP2 = "-Dloader_nghttp2_HAS_nghttp2_option_set_stream_reset_rate_limit=OFF"


def configure(folder: Path, *options: str) -> str:
    """What a native build that is refused says."""
    command = [
        "cmake",
        "-S",
        str(ROOT),
        "-B",
        str(folder),
        "-G",
        "Ninja",
        "-DLOADER_BUILD_PYTHON=OFF",
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0, done.stdout
    return " ".join(done.stderr.split())


@pytest.mark.parametrize("package", MISSING)
def test_a_missing_library_names_its_debian_package(package: str, tmp_path: Path) -> None:
    """Without its headers the build stops with the command that brings them."""
    assert f"run `apt-get install {package}`" in configure(tmp_path, *MISSING[package])


def test_an_unpatched_nghttp2_names_the_version_needed(tmp_path: Path) -> None:
    """A library without the function that came with the cure of rapid reset is refused."""
    said = configure(tmp_path, OLD_NGHTTP2)
    assert "has no nghttp2_option_set_stream_reset_rate_limit" in said
    assert "apt-get install libnghttp2-dev" in said
    assert "1.52.0-1+deb12u3" in said


def test_the_package_holds_what_it_serves_and_no_wrapper() -> None:
    """Native parts lie beside each other, the headers with them; wrappers, one of them GPL, are elsewhere."""
    names = {str(path) for path in files("engine-loader") or ()}
    assert {
        "loader/loader-host",
        "loader/include/loader/wrapper.h",
        "loader/include/loader/wrapper.hpp",
    } <= names
    assert {"_core", "_host"} <= {Path(name).name.partition(".")[0] for name in names if name.endswith(".so")}
    assert [name for name in names if "espeak" in name or name.endswith("wrapper.so")] == []


def test_the_client_alone_needs_no_compiler(tmp_path: Path) -> None:
    """LOADER_CLIENT_ONLY makes a wheel without native parts, where there is neither compiler nor CMake."""
    bare = {"PATH": str(Path(sys.executable).parent), "CC": "/bin/false", "CXX": "/bin/false"}
    environment = {**os.environ, **bare, "LOADER_CLIENT_ONLY": "1"}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert [x for x in archive.namelist() if x.endswith(".so") or "loader-host" in x] == []
        archive.extractall(tmp_path / "installed")
    code = "import loader.client as c; print(c.__file__)"
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**environment, "PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert loaded.stdout.startswith(str(tmp_path)), loaded.stderr

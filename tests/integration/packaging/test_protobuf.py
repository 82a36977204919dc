"""The committed protobuf code on the oldest protobuf that the package may be installed with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--retries", "0"]
PROGRAM = """
import google.protobuf
from loader.v1 import admin_pb2, admin_pb2_grpc, frame_pb2, loader_pb2, loader_pb2_grpc

frame = frame_pb2.Frame(seq=7, items=[frame_pb2.Item(key="x", data=b"y")])
request = loader_pb2.SessionRequest.FromString(loader_pb2.SessionRequest(frame=frame).SerializeToString())
assert request.frame == frame
print(google.protobuf.__version__)
"""


def pip(*arguments: str) -> str:
    """What pip prints; the test is skipped where no index answers."""
    try:
        done = subprocess.run([*PIP, *arguments], capture_output=True, text=True, timeout=120, check=True)
    except subprocess.SubprocessError as error:  # refused, or too slow
        said = getattr(error, "stderr", None) or str(error)
        pytest.skip(f"the package index cannot be reached: {str(said).strip().splitlines()[-1]}")
    return done.stdout


def oldest_allowed() -> str:
    """The lowest published version that pyproject.toml allows."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [bound] = [found[1] for need in needs if (found := re.fullmatch(r"protobuf>=([\d.]+)", need))]
    [listed] = re.findall(r"^Available versions: (.*)$", pip("index", "versions", "protobuf"), re.MULTILINE)
    numbers = [tuple(map(int, one.split("."))) for one in listed.split(", ") if re.fullmatch(r"[\d.]+", one)]
    lowest = tuple(map(int, bound.split(".")))
    return ".".join(map(str, min(one for one in numbers if one >= lowest)))


def test_the_generated_code_imports_on_the_oldest_protobuf(tmp_path: Path) -> None:
    """And speaks, without a warning."""
    version = oldest_allowed()
    pip("install", "--quiet", "--no-deps", "--target", str(tmp_path), f"protobuf=={version}")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == version

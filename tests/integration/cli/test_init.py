"""`loader init` writes projects that work as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("loader"))


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_aiges_project_runs_and_is_served(tmp_path: Path) -> None:
    """What is written passes its own try without a server, and `loader check`."""
    written = run(tmp_path, PROGRAM, "init", "ocr", "--template", "aiges")
    assert written.returncode == 0, written.stderr
    assert {Path(line).name for line in written.stdout.splitlines()} == {
        "Dockerfile", "README.md", "requirements.txt", "service.yaml", "wrapper.py", "test.png",
    }  # fmt: skip
    tried = run(tmp_path / "ocr/wrapper", sys.executable, "-m", "loader.compat.aiges", "wrapper.py")
    assert tried.returncode == 0, tried.stderr
    assert "the response is as it has to be" in tried.stdout
    checked = run(tmp_path / "ocr", PROGRAM, "check", "service.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "called as wrapperOnceExec(params, reqData, usrTag, persId)" in checked.stdout


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A folder of that name, an unknown template, a name that is none: refused with the cure."""
    (tmp_path / "ocr").mkdir()
    exists = run(tmp_path, PROGRAM, "init", "ocr", "--template", "aiges")
    assert (exists.returncode, exists.stdout) == (3, "")
    assert "give another name" in exists.stderr
    assert run(tmp_path, PROGRAM, "init", "asr", "--template", "none").returncode == 2
    assert run(tmp_path, PROGRAM, "init", "a/b", "--template", "aiges").returncode == 2
    assert list((tmp_path / "ocr").iterdir()) == []

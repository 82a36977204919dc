"""The configurations and engines that are shipped do, through a running loader, what they are shipped for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import PROGRAM, serving

ROOT = Path(__file__).resolve().parents[3]


def call(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "call", *arguments, "--address", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_echo_engines_answer_side_by_side(tmp_path: Path) -> None:
    """config/echo.yaml: one engine in each language, called and as a session."""
    with serving(ROOT / "config/echo.yaml", tmp_path / "loader.log") as address:
        for engine in ("echo_py", "echo_c", "echo_cpp"):
            for mode in ([], ["--session"], ["--stream"]):
                done = call(address, engine, "--item", "text=hello", *mode)
                assert (done.stderr, json.loads(done.stdout)) == ("", {"text": "hello"})


def test_the_demo_works() -> None:
    """`make demo`: recognition, synthesis and detection, of a recording and of synthesised speech."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/demo.py")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "final: go forward ten meters" in done.stdout
    assert "stopped cleanly, exit code 0" in done.stdout


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """config/speech.yaml."""
    log = tmp_path_factory.mktemp("speech") / "loader.log"
    with serving(ROOT / "config/speech.yaml", log) as address:
        yield address


@pytest.mark.parametrize("engine", ["asr", "vad"])
def test_audio_of_another_rate_is_refused(speech: str, tmp_path: Path, engine: str) -> None:
    """It would be heard at the wrong speed: the synthesiser speaks at 22,050 Hz."""
    wav = tmp_path / "say.wav"
    done = call(speech, "tts", "--item", "text=hello", "--save", f"audio={wav}")
    assert (done.returncode, done.stderr) == (0, "")
    done = call(speech, engine, "--audio", f"audio={wav}")
    assert done.returncode == 1
    assert "has rate `22050`; the engine declares `16000`" in done.stderr

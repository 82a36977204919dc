"""`loader call` with files and recordings: what goes out, what comes back, and when."""

from __future__ import annotations

import json
import subprocess
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from serving import PROGRAM, serving

MIRROR = """
    from loader import Item, Session, Wrapper

    def answer(frame):
        if "audio" not in frame:
            return {"size": frame["blob"].nbytes}
        item = frame.item("audio")
        return {"status": item.status, "audio": Item(bytes(item), type="audio", attributes=dict(item.attributes))}

    class Mirror(Wrapper):
        def exec(self, request):
            return answer(request)

        def create(self, params):
            return MirrorSession()

    class MirrorSession(Session):
        def write(self, frame):
            return answer(frame)
"""
RATE = 8_000
SECONDS = 1.5


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A loader with an engine that sends back what it hears."""
    folder = tmp_path_factory.mktemp("call")
    (folder / "mirror.py").write_text(dedent(MIRROR))
    (folder / "service.yaml").write_text("engines: {mirror: {wrapper: mirror.py, slots: 4}}")
    with serving(folder / "service.yaml", folder / "loader.log") as found:
        yield found


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A ramp of SECONDS at RATE: no two pieces of it are the same."""
    path = tmp_path / "ramp.wav"
    record(path, SECONDS)
    return path


def record(path: Path, seconds: float) -> None:
    samples = int(RATE * seconds)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, samples, "NONE", ""))
        file.writeframes(b"".join((n % 30_000).to_bytes(2, "little") for n in range(samples)))


def call(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [PROGRAM, "call", "mirror", "--address", address, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done


def content(path: Path) -> tuple[int, int, bytes]:
    with wave.open(str(path), "rb") as file:
        return file.getframerate(), file.getnchannels(), file.readframes(file.getnframes())


def test_a_recording_comes_back_as_it_was_sent(address: str, recording: Path, tmp_path: Path) -> None:
    """In pieces, with begin and end, and saved with its header."""
    back = tmp_path / "back.wav"
    done = call(address, "--audio", f"audio={recording}", "--save", f"audio={back}")
    assert (done.returncode, done.stderr) == (0, "")
    statuses = [json.loads(line)["status"] for line in done.stdout.splitlines()]
    assert statuses == ["begin", *["continue"] * 13, "end"]
    assert content(back) == content(recording)


def test_results_are_printed_as_they_arrive(address: str, tmp_path: Path) -> None:
    """--realtime: the first line is there long before the recording has ended."""
    slowly = ("--realtime", "--chunk-ms", "300")
    long = tmp_path / "long.wav"
    record(long, 4.0)
    command = [PROGRAM, "call", "mirror", "--address", address, "--audio", f"audio={long}", *slowly]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["status"] == "begin"
        first_s = time.monotonic()
        rest = process.stdout.readlines()
        assert process.wait(60) == 0
    assert len(rest) == 13
    assert time.monotonic() - first_s > 0.7  # of four seconds, in most of which the machine may stand still


def test_a_file_is_sent_as_its_bytes(address: str, tmp_path: Path) -> None:
    """Whatever they are."""
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(range(256)) * 10)
    done = call(address, "--file", f"blob={blob}")
    assert json.loads(done.stdout) == {"size": 2560}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--item", "k:=NaN"], "not JSON"),
        (["--file", "k=/no/such/file"], "No such file"),
        (["--item", "k=v", "--save", "k=/no/such/folder/x"], "no file can be written there"),
    ],
)
def test_what_cannot_be_sent_is_told(address: str, arguments: list[str], message: str) -> None:
    """Exit code 1 and one line, before anything is called."""
    done = call(address, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unknown_engine_names_the_next_step(address: str) -> None:
    """How to learn which there are."""
    command = [PROGRAM, "call", "nobody", "--address", address, "--item", "k=v"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "`loader describe` lists the engines" in done.stderr


def test_nobody_at_the_address_has_no_code(recording: Path) -> None:
    """What gRPC itself reports has a name only."""
    done = call("127.0.0.1:1", "--item", "k=v", "--timeout", "30")
    assert done.returncode == 1
    assert done.stderr.startswith("CONNECTION_FAILED: ")


@pytest.mark.parametrize(
    ("path", "message"), [("/no/such.pem", "does not exist"), ("/usr", "is a directory")]
)
def test_a_key_file_that_cannot_be_read_is_a_wrong_command_line(
    address: str, path: str, message: str
) -> None:
    """Exit code 2, and no traceback."""
    done = call(address, "--item", "k=v", "--ca", path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())

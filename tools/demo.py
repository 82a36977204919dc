"""`make demo`: three real speech engines behind one loader, used as a client uses them.

Starts the loader with config/speech.yaml on free ports, streams a recording at the pace of real time
through recognition, synthesises a sentence into a WAV file, finds the speech in both, says where the
metrics are, and stops the loader cleanly. Ends with 1 where one of these does not work.
"""

from __future__ import annotations

import json
import selectors
import signal
import subprocess
import sys
import time
import urllib.request
import wave
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.client import Client

ROOT = Path(__file__).resolve().parent.parent
RECORDING = Path("/usr/share/pocketsphinx/test/data/goforward.raw")
EXPECTED = "go forward ten meters"
SENTENCE = "Engine Loader turns an engine into a service. Nothing is lost."
ASR_RATE = 16_000
CHUNK_S = 0.1
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


@contextmanager
def running_loader() -> Iterator[dict[str, str]]:
    """The loader on free ports; gives the line that it prints when it is ready. Raises: RuntimeError."""
    program = Path(sys.executable).with_name("loader")
    command = [str(program), "--config", str(ROOT / "config/speech.yaml")]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield ready_line(process)
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_TIMEOUT_S)
        if code != 0:
            raise RuntimeError(f"the loader ended with code {code} in place of 0")
        print(f"stopped cleanly, exit code {code}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ready_line(process: subprocess.Popen[str]) -> dict[str, str]:
    """The addresses, once every engine is ready."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(READY_TIMEOUT_S):
            raise RuntimeError(f"the loader was not ready after {READY_TIMEOUT_S:.0f} s: see its log above")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"the loader ended with code {process.wait()}: see its log above")
    return dict(json.loads(line))


def at_real_time(pcm: bytes) -> Iterator[dict[str, bytes]]:
    """The recording in pieces, each when a microphone would have it."""
    size = int(ASR_RATE * CHUNK_S) * 2
    start = time.monotonic()
    for number, at in enumerate(range(0, len(pcm), size), 1):
        time.sleep(max(0.0, start + number * CHUNK_S - time.monotonic()))
        yield {"audio": pcm[at : at + size]}


def recognise(client: Client, pcm: bytes) -> str:
    """Streams the recording; prints hypotheses as they come. Returns the final text."""
    print(f"asr: streaming {len(pcm) / 2 / ASR_RATE:.1f} s at the pace of real time")
    start = time.monotonic()
    text = ""
    with client.session("asr", timeout_s=60) as session:
        for result in session.stream(at_real_time(pcm)):
            if "partial" in result:
                print(f"  {time.monotonic() - start:4.1f} s  {result['partial']}", flush=True)
            if "text" in result:
                text = result["text"]
                spans = ", ".join(f"{w['word']} {w['start_s']:.2f}-{w['end_s']:.2f}" for w in result["words"])
                print(f"  final: {text}\n  words: {spans}")
    return text


def synthesise(client: Client, path: Path) -> bytes:
    """Writes the sentence as a WAV file. Returns its PCM at 16 kHz."""
    start = time.monotonic()
    chunks: list[bytes] = []
    rate = 0
    for result in client.exec_stream("tts", {"text": SENTENCE}, timeout_s=60):
        if not chunks:
            print(f'tts: "{SENTENCE}"\n  first audio after {(time.monotonic() - start) * 1000:.0f} ms')
        item = result.items[0]
        rate = int(item.attributes["rate"])
        chunks.append(item.data)
    pcm = b"".join(chunks)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    print(f"  {len(chunks)} chunks, {len(pcm) / 2 / rate:.1f} s of audio in {path}")
    return resample(pcm, rate)


def resample(pcm: bytes, rate: int) -> bytes:
    """PCM at 16 kHz, by linear interpolation: good enough to look for speech."""
    samples = array("h", pcm)
    step = rate / ASR_RATE
    out = array("h")
    for i in range(int((len(samples) - 1) / step)):
        at = int(i * step)
        share = i * step - at
        out.append(int(samples[at] * (1 - share) + samples[at + 1] * share))
    return out.tobytes()


def find_speech(client: Client, name: str, pcm: bytes) -> int:
    """Prints the spans of speech; returns how many there are."""
    with client.session("vad", timeout_s=60) as session:
        for at in range(0, len(pcm), 32_000):
            session.write({"audio": pcm[at : at + 32_000]})
        segments = [result["segment"] for result in session]
    spans = ", ".join(f"{s['start_s']:.2f}-{s['end_s']:.2f} s" for s in segments)
    print(f"vad: {name}: {spans}")
    return len(segments)


def show_metrics(address: str) -> None:
    """Where they are, and two of them."""
    url = f"http://{address}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    opened = [x for x in lines if x.startswith("loader_sessions_opened")]
    print(f"metrics: {url}")
    for line in opened[:3]:
        print(f"  {line}")


def main() -> int:
    if not RECORDING.is_file():
        print(f"{RECORDING} is missing: run `apt-get install pocketsphinx-testdata`", file=sys.stderr)
        return 1
    recording = RECORDING.read_bytes()
    wav = ROOT / "out/demo.wav"
    wav.parent.mkdir(exist_ok=True)
    with running_loader() as ready, Client(ready["grpc"]) as client:
        print(f"ready: gRPC {ready['grpc']}, HTTP {ready['http']}")
        text = recognise(client, recording)
        speech = synthesise(client, wav)
        spans = find_speech(client, RECORDING.name, recording), find_speech(client, wav.name, speech)
        show_metrics(ready["http"])
    if text != EXPECTED:
        print(f'heard "{text}" in place of "{EXPECTED}"', file=sys.stderr)
    return 0 if text == EXPECTED and all(spans) else 1


if __name__ == "__main__":
    sys.exit(main())

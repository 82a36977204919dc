"""`make demo`: speech recognition, synthesis and voice activity on one loader, from start to a clean end.

Uses what users use: the command `loader`, config/speech.yaml and loader.client. Knows no internals.
"""

from __future__ import annotations

import argparse
import array
import json
import selectors
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from loader.client import Client, Item

ROOT = Path(__file__).resolve().parent.parent
RECORDING = Path("/usr/share/pocketsphinx/test/data/goforward.raw")
SENTENCE = "The loader has started, and every engine is ready."
RATE = 16_000
CHUNK_MS = 100
READY_S = 120
END_S = 60


@contextmanager
def running_loader(log: Path) -> Iterator[dict[str, str]]:
    """A loader on free ports; its ready line."""
    program = str(Path(sys.executable).parent / "loader")
    command = [
        program,
        "--config",
        str(ROOT / "config/speech.yaml"),
        "--grpc",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
    ]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            yield wait_ready(process, log)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            print(f"\nstopped with exit code {code}")
    if code != 0:
        sys.exit(f"the loader ended with {code}; its log is {log}")


def wait_ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """The ready line, or the end with the log's last lines."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        line = process.stdout.readline() if selector.select(READY_S) else b""
    if not line:
        sys.exit(
            f"the loader was not ready in {READY_S} s:\n" + "\n".join(log.read_text().splitlines()[-20:])
        )
    ready: dict[str, str] = json.loads(line)
    return ready


def chunks(pcm: bytes, *, is_realtime: bool) -> Iterator[dict[str, object]]:
    """16 kHz PCM in pieces, at the pace at which it was spoken where asked for."""
    size = RATE * 2 * CHUNK_MS // 1000
    started = time.monotonic()
    attributes = {"encoding": "pcm_s16le", "rate": str(RATE), "channels": "1"}
    for number, at in enumerate(range(0, len(pcm), size)):
        if is_realtime:
            time.sleep(max(0.0, started + number * CHUNK_MS / 1000 - time.monotonic()))
        yield {"audio": Item(pcm[at : at + size], type="audio", attributes=attributes)}


def recognise(client: Client, pcm: bytes) -> None:
    """Streams a recording in real time and prints what is heard while it is spoken."""
    print(f"\nasr: {len(pcm) / 2 / RATE:.1f} s of speech, streamed as it is spoken")
    started = time.monotonic()
    with client.session("asr", timeout_s=120) as session:
        for result in session.stream(chunks(pcm, is_realtime=True)):
            if "partial" in result:
                print(f"  {time.monotonic() - started:5.1f} s  {result['partial']}", flush=True)
            if "text" in result:
                print(f"  {time.monotonic() - started:5.1f} s  final: {result['text']}")


def synthesise(client: Client, path: Path) -> bytes:
    """Speaks a sentence into a WAV file; the audio at 16 kHz."""
    started = time.monotonic()
    pcm, rate, count = bytearray(), RATE, 0
    for result in client.exec_stream("tts", {"text": SENTENCE}, timeout_s=60):
        for item in result.items:
            if item.key == "audio":
                count += 1
                rate = int(item.attributes.get("rate", rate))
                pcm += item.data
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(pcm))
    print(
        f'\ntts: "{SENTENCE}"\n  {len(pcm) / 2 / rate:.1f} s of speech in {count} chunks, {rate} Hz,', end=" "
    )
    print(f"in {time.monotonic() - started:.2f} s: {path}")
    return resample(bytes(pcm), rate)


def resample(pcm: bytes, rate: int) -> bytes:
    """16-bit mono PCM at 16 kHz, by linear interpolation: enough to find speech in it."""
    samples = array.array("h", pcm)
    out = array.array("h")
    for number in range(len(samples) * RATE // rate - 1):
        place = number * rate / RATE
        at = int(place)
        following = samples[min(at + 1, len(samples) - 1)]
        out.append(int(samples[at] + (following - samples[at]) * (place - at)))
    return out.tobytes()


def find_speech(client: Client, name: str, pcm: bytes) -> None:
    """Prints the spans of speech in a recording."""
    with client.session("vad", timeout_s=60) as session:
        segments = [r["segment"] for r in session.stream(chunks(pcm, is_realtime=False)) if "segment" in r]
    spans = ", ".join(f"{s['start_s']:.2f} to {s['end_s']:.2f} s" for s in segments) or "none"
    print(f"  {name}: {spans}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build", help="where the WAV file and the log go"
    )
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    if not RECORDING.is_file():
        sys.exit(f"{RECORDING} is missing: run `apt-get install pocketsphinx-testdata`")
    recording = RECORDING.read_bytes()
    with running_loader(folder / "demo.log") as ready, Client(ready["grpc"]) as client:
        print(f"ready: gRPC {ready['grpc']}, metrics at http://{ready['http']}/metrics")
        for engine in client.describe(timeout_s=10):
            print(f"  {engine.name} {engine.version} {engine.state}, {engine.slots} slots")
        recognise(client, recording)
        spoken = synthesise(client, folder / "demo.wav")
        print("\nvad: where is speech?")
        find_speech(client, "the recording", recording)
        find_speech(client, "the synthesised sentence", spoken)
        print(f"\nmetrics: http://{ready['http']}/metrics; the loader's log: {folder / 'demo.log'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Voice activity detection with Silero VAD: spans of speech in 16 kHz PCM, whole or streamed.

Three parts, each knowing only the one above it: Detector (samples to probabilities), Segmenter
(probabilities to spans, pure), Vad and VadSession (the loader's Python ABI).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from loader import Audio, Config, Float, Frame, Int, Json, Params, Rejected, Request, Session, Wrapper

SAMPLE_RATE = 16000
WINDOW_SAMPLES = 512
CONTEXT_SAMPLES = 64
WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE
# Speech goes on until the probability has fallen this far below the threshold.
HYSTERESIS = 0.15

Samples = npt.NDArray[np.float32]


def installed_model() -> Path:
    """The ONNX file inside the installed package silero-vad, which is not imported: that loads PyTorch."""
    spec = find_spec("silero_vad")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the package silero-vad is not installed: run `pip install --no-deps silero-vad`, "
            "or set config.model to the ONNX file"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "silero_vad.onnx"


class Model:
    """The loaded network. Stateless: threads share it."""

    def __init__(self, path: str | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(path or installed_model()), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, window: Samples, state: Samples) -> tuple[float, Samples]:
        """Probability of speech in `window` (context included) and the next state."""
        inputs = {"input": window[None], "state": state, "sr": np.array(SAMPLE_RATE, np.int64)}
        probability, next_state = self._session.run(None, inputs)
        return float(probability[0, 0]), next_state


class Detector:
    """One stream of samples in -1..1; yields a probability for each whole window of 32 ms."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._state: Samples = np.zeros((2, 1, 128), np.float32)
        self._context: Samples = np.zeros(CONTEXT_SAMPLES, np.float32)
        self._rest: Samples = np.zeros(0, np.float32)
        self.duration_s = 0.0

    def accept(self, samples: Samples) -> Iterator[float]:
        """Takes the next samples."""
        self.duration_s += samples.size / SAMPLE_RATE
        pending = np.concatenate([self._rest, samples])
        whole = pending.size - pending.size % WINDOW_SAMPLES
        self._rest = pending[whole:]
        for start in range(0, whole, WINDOW_SAMPLES):
            yield self._step(pending[start : start + WINDOW_SAMPLES])

    def flush(self) -> Iterator[float]:
        """The last, incomplete window, filled with silence."""
        if self._rest.size:
            yield self._step(np.pad(self._rest, (0, WINDOW_SAMPLES - self._rest.size)))
            self._rest = self._rest[:0]

    def _step(self, window: Samples) -> float:
        probability, self._state = self._model(np.concatenate([self._context, window]), self._state)
        self._context = window[-CONTEXT_SAMPLES:]
        return probability


@dataclass(frozen=True, slots=True)
class Segment:
    """One span of speech, in seconds from the start of the stream."""

    start_s: float
    end_s: float


@dataclass(slots=True)
class Segmenter:
    """Hysteresis with a shortest speech and a shortest silence."""

    threshold: float
    min_silence_s: float
    min_speech_s: float
    now_s: float = 0.0
    start_s: float | None = None
    silence_since_s: float | None = None

    def accept(self, probability: float) -> Segment | None:
        """The segment that this window's silence ended, if it ended one."""
        window_start_s, self.now_s = self.now_s, self.now_s + WINDOW_S
        if probability >= self.threshold:
            self.silence_since_s = None
            if self.start_s is None:
                self.start_s = window_start_s
        elif self.start_s is not None and probability < self.threshold - HYSTERESIS:
            return self._silence(window_start_s)
        return None

    def finish(self, duration_s: float) -> Segment | None:
        """The span that the end of the stream cut off."""
        end_s = self.now_s if self.silence_since_s is None else self.silence_since_s
        return self._close(min(end_s, duration_s))

    def _silence(self, at_s: float) -> Segment | None:
        if self.silence_since_s is None:
            self.silence_since_s = at_s
        if self.now_s - self.silence_since_s < self.min_silence_s:
            return None
        return self._close(self.silence_since_s)

    def _close(self, end_s: float) -> Segment | None:
        start_s, self.start_s = self.start_s, None
        self.silence_since_s = None
        if start_s is None or end_s - start_s < self.min_speech_s:
            return None
        return Segment(start_s, end_s)


class VadSession(Session):
    """The state of one stream: the network's memory, the open span, half a sample."""

    def __init__(self, model: Model, parameters: Params | Request) -> None:
        given = parameters.parameters
        self._detector = Detector(model)
        self._segmenter = Segmenter(
            threshold=given["threshold"],
            min_silence_s=given["min_silence_ms"] / 1000,
            min_speech_s=given["min_speech_ms"] / 1000,
        )
        self._odd_byte = b""

    def write(self, frame: Frame) -> Iterator[dict[str, Any]]:
        """Segments that ended inside this piece of audio."""
        for item in frame.items:
            for probability in self._detector.accept(self._samples(bytes(item))):
                yield from results(self._segmenter.accept(probability))

    def end(self) -> Iterator[dict[str, Any]]:
        """The segment that the end cut off."""
        for probability in self._detector.flush():
            yield from results(self._segmenter.accept(probability))
        yield from results(self._segmenter.finish(self._detector.duration_s))

    def _samples(self, audio: bytes) -> Samples:
        """Pieces may cut a sample in two: the odd byte waits for the next piece."""
        data = self._odd_byte + audio
        whole = len(data) - len(data) % 2
        self._odd_byte = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768.0


def results(segment: Segment | None) -> Iterator[dict[str, Any]]:
    """One result frame for a segment."""
    if segment is not None:
        yield {"segment": {"start_s": round(segment.start_s, 3), "end_s": round(segment.end_s, 3)}}


class Vad(Wrapper):
    """Speech segments of 16-bit mono PCM at 16 kHz."""

    inputs = {  # noqa: RUF012
        "audio": Audio(
            encoding="pcm_s16le",
            rate=SAMPLE_RATE,
            channels=1,
            description="16-bit little-endian mono PCM, 16 kHz",
        )
    }
    outputs = {"segment": Json(required=False, description="{start_s, end_s} of one span of speech")}  # noqa: RUF012
    parameters = {  # noqa: RUF012
        "threshold": Float(0.5, minimum=0.0, maximum=1.0),
        "min_silence_ms": Int(300, minimum=0, maximum=60_000),
        "min_speech_ms": Int(200, minimum=0, maximum=60_000),
    }

    def init(self, config: Config) -> None:
        """Loads the network; `config.model` is the path of another ONNX file."""
        self.model = Model(config.get("model"))

    def exec(self, request: Request) -> Iterator[dict[str, Any]]:
        """The segments of a whole recording."""
        if not request.items:
            raise Rejected("the request has no item: send PCM under the key 'audio'")
        stream = VadSession(self.model, request)
        yield from stream.write(request)
        yield from stream.end()

    def create(self, params: Params) -> VadSession:
        """A stream."""
        return VadSession(self.model, params)

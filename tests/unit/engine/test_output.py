"""Engine output: whole lines, cut when too long, at most a rate."""

from __future__ import annotations

import logging
import os
import time

import pytest

from loader.engine.output import LINE_BYTES, RATE_BYTES_S, LineSplitter, OutputCapture, RateLimit
from loader.logs import JsonFormatter


def test_lines_are_joined_across_chunks() -> None:
    """A line ends at its end of line, wherever the chunks end."""
    splitter = LineSplitter()
    assert splitter.feed(b"he") == []
    assert splitter.feed(b"llo\r\nwor") == ["hello"]
    assert splitter.flush() == ["wor"]
    assert splitter.flush() == []


def test_an_endless_line_is_cut() -> None:
    """Output without an end of line is bounded in memory."""
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (3 * LINE_BYTES))
    assert all(len(line) == LINE_BYTES for line in lines)
    assert sum(map(len, lines)) + sum(map(len, splitter.flush())) == 3 * LINE_BYTES


def test_the_rate_refuses_what_is_over_it_and_recovers() -> None:
    """A second of output may pass at once; then as much as time gives back."""
    limit = RateLimit(1000, 1000, 0.0)
    assert limit.take(1000, 0.0)
    assert not limit.take(1, 0.0)
    assert limit.take(500, 0.5)
    assert not limit.take(2000, 100.0)


def test_a_flood_is_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Everything is read; what is over the rate is counted; the log names the engine."""
    reader, writer = os.pipe()
    capture = OutputCapture(reader, "noisy", 3)
    chunk = b"y" * 1023 + b"\n"
    written = 0
    logging.getLogger("loader").propagate = True
    with caplog.at_level(logging.INFO, "loader.engine.output"):
        while written < 4 * RATE_BYTES_S:
            written += os.write(writer, chunk)
            assert capture.read()
        os.close(writer)
        while capture.read():
            pass
    capture.close()
    lines = [r for r in caplog.records if r.message == "engine output"]
    logged = sum(len(vars(r)["line"]) + 1 for r in lines)
    assert logged + capture.dropped_bytes == written
    assert capture.dropped_bytes > RATE_BYTES_S
    assert {(vars(r)["engine"], vars(r)["instance"]) for r in lines} == {("noisy", 3)}
    assert [vars(r)["dropped_bytes"] for r in caplog.records if r.message == "engine output dropped"]


@pytest.mark.parametrize("chunk", [b"\n" * 65_536, b"\0" * 8_191 + b"\n", b"x\n" * 32_768])
def test_a_flood_is_counted_as_it_is_logged(chunk: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Empty lines and control characters grow in the log: 16 MiB of them make no more than the rate."""
    reader, writer = os.pipe()
    capture = OutputCapture(reader, "noisy", 3)
    logging.getLogger("loader").propagate = True
    started = time.monotonic()
    with caplog.at_level(logging.INFO, "loader.engine.output"):
        for _ in range(256):
            os.set_blocking(writer, False)
            written = os.write(writer, chunk)
            while written > 0:
                written -= 65_536
                assert capture.read()
        os.close(writer)
        while capture.read():
            pass
    capture.close()
    took_s = time.monotonic() - started
    logged = sum(len(JsonFormatter().format(record)) + 1 for record in caplog.records)
    assert logged < RATE_BYTES_S * (1.2 + took_s)
    assert capture.dropped_bytes > RATE_BYTES_S
    assert len([r for r in caplog.records if r.message == "engine output dropped"]) <= took_s + 2

"""The loader's log: one JSON object a line, or text; the fields of a record in both."""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from loader.logs import JsonFormatter, QueuedHandler, start_logging


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def kept() -> Iterator[None]:
    """The logger of the test run stays as it was."""
    log = logging.getLogger("loader")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


def written(style: str, stream: io.StringIO) -> str:
    start_logging("info", style, stream)
    log = logging.getLogger("loader.engine.output")
    log.debug("not shown")
    log.info("engine output", extra={"engine": "asr", "line": 'said "grüße"\nand more'})
    return stream.getvalue()


@pytest.mark.parametrize("style", ["json", "auto"])
def test_json_is_one_object_a_line_with_the_engines_name(style: str) -> None:
    """`auto` is JSON where nobody looks at a terminal; a line break in a field stays inside its line."""
    lines = written(style, io.StringIO()).splitlines()
    assert len(lines) == 1
    record = json.loads(lines[0])
    assert record.pop("time").endswith("Z")
    assert record == {
        "level": "info",
        "event": "engine output",
        "engine": "asr",
        "line": 'said "grüße"\nand more',
    }


@pytest.mark.parametrize(("style", "stream"), [("console", io.StringIO()), ("auto", Terminal())])
def test_the_console_has_event_and_fields(style: str, stream: io.StringIO) -> None:
    """`auto` is text on a terminal."""
    text = written(style, stream)
    assert "INFO    engine output  engine=asr line=said" in text
    assert "not shown" not in text


def test_a_traceback_is_a_field() -> None:
    """An exception does not break the lines of JSON."""
    stream = io.StringIO()
    start_logging("info", "json", stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("loader").exception("event failed")
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: why" in json.loads(line)["traceback"]


def test_started_again_it_writes_once() -> None:
    """A live change of level or form replaces the old one."""
    stream = io.StringIO()
    start_logging("info", "json", io.StringIO())
    start_logging("error", "json", stream)
    log = logging.getLogger("loader")
    log.info("too little")
    log.error("enough")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["enough"]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Reader and writer of a pipe."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@contextmanager
def logging_to(fd: int, limit_bytes: int = 1 << 20) -> Iterator[logging.Logger]:
    """A logger of its own whose records go to the descriptor."""
    log = logging.getLogger("test_logs")
    handler = QueuedHandler(fd, limit_bytes)
    handler.setFormatter(JsonFormatter())
    log.handlers[:], log.propagate = [handler], False
    log.setLevel(logging.INFO)
    yield log
    handler.flush()
    handler.close()
    log.handlers.clear()


def test_nobody_waits_where_the_log_is_not_read(pipe: tuple[int, int]) -> None:
    """Records are dropped; once there is room again the log says how many: none is missing in the count."""
    reader, writer = pipe
    sent = 20_000
    with logging_to(writer, limit_bytes=100_000) as log:
        started = time.monotonic()
        for number in range(sent):
            log.info("event", extra={"number": number, "rest": "x" * 100})
        assert time.monotonic() - started < 60
        found = b""
        for _ in range(1_000):
            found += os.read(reader, 65_536)
            log.info("more")  # there is always something to read
            records = [json.loads(line) for line in found.rpartition(b"\n")[0].splitlines()]
            numbers = [record["number"] for record in records if "number" in record]
            dropped = sum(record.get("dropped", 0) for record in records)
            if len(numbers) + dropped >= sent:
                break
        assert numbers == sorted(numbers)
        assert 100 < len(numbers) < sent / 2
        assert sent <= len(numbers) + dropped <= sent + len(records)


def test_what_is_logged_before_the_end_is_written(pipe: tuple[int, int]) -> None:
    """flush, as at the end of the process, waits for the writer."""
    reader, writer = pipe
    with logging_to(writer) as log:
        log.info("last words")
    assert json.loads(os.read(reader, 1_000))["event"] == "last words"


def test_a_reader_that_has_gone_ends_nothing() -> None:
    """A closed pipe takes the log to nowhere."""
    reader, writer = os.pipe()
    os.close(reader)
    with logging_to(writer) as log:
        for _ in range(100):
            log.info("to nobody")
    os.close(writer)

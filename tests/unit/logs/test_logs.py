"""The loader's log: one JSON object a line, or text; the fields of a record in both."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from loader.logs import start_logging


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

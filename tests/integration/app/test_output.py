"""What an engine prints, and a log that nobody reads, hold nobody up."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running import END_S, READY_S, command, until

Write = Callable[..., Path]

NOISY = """
    import os, threading
    from loader import Wrapper

    def shout():
        while True:
            os.write(1, {text})

    class Noisy(Wrapper):
        def init(self, config):
            threading.Thread(target=shout, daemon=True).start()

        def exec(self, request):
            return None
"""


@contextmanager
def unread(config: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, int]]:
    """A loader whose standard error is a pipe that nobody reads: its process, HTTP address and that pipe."""
    reader, writer = os.pipe()
    arguments = command("--config", str(config), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=writer) as process:
        os.close(writer)
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S), "no ready line"
            yield process, json.loads(process.stdout.readline())["http"], reader
        finally:
            process.kill()
            os.close(reader)


def waiting_bytes(pipe: int) -> int:
    """What lies in the pipe."""
    import array
    import fcntl
    import termios

    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


@pytest.mark.parametrize("text", ["b'\\n' * 4096", "b'x' * 100 + b'\\n'"])
def test_a_flood_and_a_full_pipe_leave_the_loader_alive(wrapper: Write, tmp_path: Path, text: str) -> None:
    """/healthz answers and SIGTERM ends it, with the pipe full."""
    config = tmp_path / "service.yaml"
    config.write_text(f"engines: {{noisy: {{wrapper: {wrapper('noisy', NOISY.format(text=text))}}}}}")
    with unread(config) as (process, http, pipe):
        until(lambda: waiting_bytes(pipe) > 60_000, "the pipe is full")
        for _ in range(20):  # whoever wrote into that pipe would answer nothing any more
            with urllib.request.urlopen(f"http://{http}/healthz", timeout=30) as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0

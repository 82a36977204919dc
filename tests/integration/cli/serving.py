"""A `loader` that serves a file on free ports, for tests that need no more of it than its address."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = str(Path(sys.executable).with_name("loader"))
READY_S = 120
END_S = 60


@contextmanager
def serving(config: Path, log: Path) -> Iterator[str]:
    """Gives the gRPC address; at the end SIGTERM and exit code 0."""
    command = [PROGRAM, "--config", str(config), "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S), log.read_text()
            line = process.stdout.readline()
            assert line, log.read_text()
            yield str(json.loads(line)["grpc"])
            process.terminate()
            assert process.wait(END_S) == 0
        finally:
            process.kill()

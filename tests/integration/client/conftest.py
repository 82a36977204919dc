"""A loader for the clients' tests: echo, and an engine that does what its input says."""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[3]
READY_S = 120

MOODY = """
    import time

    import loader

    class Moody(loader.Wrapper):
        def exec(self, request):
            for number in range(request["count"]):
                yield {"n": number}
            if "fail" in request:
                raise loader.Error(7, "bad mood")
            while "wait" in request and not request.is_cancelled:
                time.sleep(0.01)

        def create(self, params):
            return MoodySession()

    class MoodySession(loader.Session):
        def write(self, frame):
            if "fail" in frame:
                raise loader.Error(7, "bad mood")
            return {"n": frame["n"]}
"""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The gRPC address of a loader that serves `echo` and `moody`."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "moody.py").write_text(dedent(MOODY))
    wrappers = {"echo": ROOT / "wrappers/echo_py", "moody": folder / "moody.py"}
    engines = {name: {"wrapper": str(path), "slots": 64} for name, path in wrappers.items()}
    (folder / "service.yaml").write_text(json.dumps({"engines": engines}))
    command = [str(Path(sys.executable).with_name("loader")), "--config", str(folder / "service.yaml")]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    with (
        (folder / "loader.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(READY_S), "the loader was not ready in time"
            yield str(json.loads(process.stdout.readline())["grpc"])
        finally:
            process.terminate()
            assert process.wait(60) == 0

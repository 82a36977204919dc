"""One running loader for the tests of the AIGES wire: echo_c, echo_c with one slot, an AIGES library that echoes, and
an engine that does as told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "app"))

from running import Running
from xsf_client import Xsf

WRAPPERS = Path(__file__).parents[3] / "wrappers"

STAGE = """
    import os
    from collections import defaultdict
    from threading import Event, Thread

    from loader import Error, Item, PENDING, Session, Wrapper

    GATES = defaultdict(Event)
    WAIT_S = 20


    def act(mode, name, emit, frame):
        if mode == "fail":
            raise Error(21111, "boom")
        if mode == "raise":
            raise ValueError("odd")
        if mode == "die":
            os._exit(3)
        if mode == "wait":
            assert GATES[name].wait(WAIT_S)
        if mode == "open":
            GATES[name].set()
        for item in frame.items:
            emit({item.key: Item(bytes(item).decode().upper(), type="text")})


    class StageSession(Session):
        def __init__(self, params):
            self.mode, self.name = params.get("mode", ""), params.get("name", "")
            self.seen = sorted(params.parameters.items())
            self.is_first = True

        def write(self, frame):
            if self.mode == "parameters":
                return {"text": str(self.seen)}
            if self.mode == "late" and self.is_first:
                self.is_first = False
                Thread(target=self.emit_late, daemon=True).start()
                return None
            if self.mode == "lose":
                Thread(target=self.lose, daemon=True).start()
                return None
            if self.mode == "many":
                for i in range(int(self.name)):
                    self.emit({"text": str(i)})
                return None
            act(self.mode, self.name, self.emit, frame)

        def emit_late(self):
            assert GATES[self.name].wait(WAIT_S)
            self.emit({"text": "late"})

        def lose(self):
            assert GATES[self.name].wait(WAIT_S)
            self.emit({"text": "last"})
            self.fail(Error(4711, "lost"))


    class Stage(Wrapper):
        def exec(self, request):
            act(request.parameters.get("mode", ""), request.parameters.get("name", ""), request.emit, request.frame)

        def create(self, params):
            if params.get("mode") == "refuse":
                raise Error(4711, "no room")
            return StageSession(params)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running loader of three shards, so that most calls come in on another one than their session's."""
    folder = tmp_path_factory.mktemp("aiges")
    (folder / "stage").mkdir()
    (folder / "stage" / "wrapper.py").write_text(dedent(STAGE))
    source = Path(__file__).parents[2] / "cpp/host/aiges/echo.c"
    build = ["gcc", "-std=c11", "-shared", "-fPIC", "-D_GNU_SOURCE", str(source), "-o", "libwrapper.so"]
    subprocess.run(build, cwd=folder, check=True, timeout=60)
    config = f"""
        data_plane_threads: 3
        aiges: {{header_pass: [appid], session_ttl_ms: 5000}}
        engines:
          echo: {{wrapper: {WRAPPERS / "echo_c"}, slots: 64}}
          one: {{wrapper: {WRAPPERS / "echo_c"}, slots: 1}}
          library: {{wrapper: libwrapper.so, slots: 8}}
          stage:
            wrapper: stage
            slots: 8
            threads: 8
            restart: {{backoff_s: 0.01, intensity: 100}}
    """
    with Running(folder, dedent(config)) as running:
        yield running


@pytest.fixture
def client(service: Running) -> Iterator[Xsf]:
    """A client on one connection."""
    one = Xsf(service.ready["grpc"])
    yield one
    one.close()


@pytest.fixture
def nomad(service: Running) -> Iterator[Xsf]:
    """A client that makes a connection for every call: each comes in on any shard."""
    one = Xsf(service.ready["grpc"], is_fresh=True)
    yield one
    one.close()

"""`loader resolve`: addresses for stubs of other languages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parent))

from fleet import NOBODY, Fleet, announce, echo

from loader.registry import EngineEntry, NodeEntry
from loader.v1 import frame_pb2, loader_pb2, loader_pb2_grpc


def resolved(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Its standard output and error."""
    command = [str(Path(sys.executable).with_name("loader")), "resolve", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def asr(version: str, free: int, **capabilities: str) -> EngineEntry:
    return EngineEntry("asr", version, slots=8, slots_free=free, capabilities=capabilities)


def test_the_best_node_comes_first(tmp_path: Path) -> None:
    """Own zone before free slots, full nodes last; what does not serve it is not printed."""
    url = f"file:{tmp_path}"
    announce(
        url,
        NodeEntry("full", "h1:1", "z1", engines=(asr("1", 0, language="en"),)),
        NodeEntry("some", "h2:1", "z2", engines=(asr("1", 3, language="en"),)),
        NodeEntry("more", "h3:1", "z2", engines=(asr("2", 8, language="de"),)),
        NodeEntry("other", "h4:1", "z1", engines=(EngineEntry("tts", "1", slots=1, slots_free=1),)),
    )
    assert resolved(url, "asr")[0].split() == ["h3:1", "h2:1", "h1:1"]
    assert resolved(url, "asr", "--zone", "z1")[0].split() == ["h3:1", "h2:1", "h1:1"]
    assert resolved(url, "--zone", "z1")[0].split() == ["h4:1", "h3:1", "h2:1", "h1:1"]
    assert resolved(url, "--selector", "language=en")[0].split() == ["h2:1", "h1:1"]
    assert resolved(url, "asr", "--version", "2")[0].split() == ["h3:1"]
    (row,) = json.loads(resolved(url, "tts", "--output", "json")[0])
    assert (row["node"], row["address"], row["zone"], row["is_tls"]) == ("other", "h4:1", "z1", False)
    assert row["engines"][0]["slots_free"] == 1


def test_what_is_not_served_and_who_does_not_answer_is_said(tmp_path: Path) -> None:
    url = f"file:{tmp_path}"
    announce(url, NodeEntry("a", "h1:1", engines=(asr("1", 1),)))
    out, told = resolved(url, "tts", "--selector", "a=b", code=1)
    assert out == ""
    assert "none of 1 nodes serves tts with a=b" in told
    assert resolved(url, "tts", "--output", "json", code=1)[0].strip() == "[]"
    assert "Consul does not" in resolved(f"consul://{NOBODY}/speech", "tts", code=1)[1]
    assert "is no registry" in resolved("127.0.0.1:8001", code=2)[1]
    assert "write key=value" in resolved(url, "--selector", "language", code=2)[1]


def test_a_bare_stub_uses_what_is_printed(tmp_path: Path) -> None:
    """The address reaches the engine without this client, and `loader call` takes the registry itself."""
    with Fleet(tmp_path, f"file:{tmp_path}/registry") as fleet:
        fleet.add("a", {"echo": echo(capabilities={"language": "en"})})
        fleet.ready()
        address = resolved(fleet.registry, "--selector", "language=en")[0].strip()
        request = loader_pb2.ExecRequest(
            target=loader_pb2.Target(selector={"language": "en"}),
            frame=frame_pb2.Frame(items=[frame_pb2.Item(key="x", data=b"1")]),
        )
        with grpc.insecure_channel(address) as channel:
            answer = loader_pb2_grpc.LoaderServiceStub(channel).Exec(request, timeout=30)
        assert answer.frames[0].items[0].data == b"1"
        command = [str(Path(sys.executable).with_name("loader")), "call", "echo", "--item", "text=hi"]
        done = subprocess.run(
            [*command, "--address", fleet.registry], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        assert '"hi"' in done.stdout

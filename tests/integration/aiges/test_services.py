"""What surrounds the sessions of AIGES clients: reflection, the ToolBox, operations that mean nothing here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import grpc
import pytest
import xsf_protos as xsf
from google.protobuf import descriptor_pb2, descriptor_pool
from running import Running, until
from xsf_client import BEGIN, END, Xsf, payload

WRAPPERS = Path(__file__).parents[3] / "wrappers"


@pytest.mark.parametrize("op", ["AILBType", "AIHotword", "AIDetect", "AILoad", "AIUnLoad"])
def test_operations_without_effect_succeed(client: Xsf, op: str) -> None:
    """An empty LoaderOutput."""
    answer = client.call(op, None, None, lbType="1", authzNo="2", timeout="100")
    assert answer.summary == (0, BEGIN, [])
    assert len(answer.handle) == 26


def test_a_ping_is_answered_without_data(client: Xsf) -> None:
    """An empty success."""
    answer = client.call("ping")
    assert (answer.response.code, len(answer.response.data)) == (0, 0)


def command(running: Running, name: str) -> str:
    call = running.channel.unary_unary("/utils.ToolBox/cmdserver")
    query = xsf.Request(query=json.dumps({"cmd": name}), headers='{"method":"GET"}')
    return str(xsf.Response.FromString(call(query.SerializeToString(), timeout=30)).body)


def test_the_toolbox_tells_status_health_and_licences(service: Running, client: Xsf) -> None:
    """What load balancers ask for."""
    status = json.loads(command(service, "status"))
    assert status["status"] == "ok"
    assert {one["name"]: one["licences"] for one in status["engines"]} == {
        "echo": 64,
        "library": 8,
        "one": 1,
        "stage": 8,
    }
    assert json.loads(command(service, "health")) == {"status": "ok"}
    assert 'concurrent_statistics{sub="ase",name="one",type="max"} 1' in command(service, "metrics")
    assert "known are status" in json.loads(command(service, "what"))["error"]


def test_reflection_shows_the_foreign_services(service: Running) -> None:
    """With the files that describe them."""
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    stub = reflection_pb2_grpc.ServerReflectionStub(service.channel)
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="utils.XsfCall"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="protocol.LoaderInput"),
    ]
    answers = list(stub.ServerReflectionInfo(iter(requests), timeout=30))
    names = {one.name for one in answers[0].list_services_response.service}
    assert {"utils.XsfCall", "utils.ToolBox"} <= names
    for answer, package in zip(answers[1:], ("utils", "protocol"), strict=True):
        pool = descriptor_pool.DescriptorPool()
        for file in answer.file_descriptor_response.file_descriptor_proto:
            pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
        assert any(
            descriptor_pb2.FileDescriptorProto.FromString(file).package == package
            for file in answer.file_descriptor_response.file_descriptor_proto
        )


def test_the_loaders_python_knows_none_of_these_packages() -> None:
    """A user's process may have its own code for them in the default pool."""
    program = (
        "import loader, loader.client, loader.v1.loader_pb2\n"
        "from google.protobuf import descriptor_pool\n"
        "pool = descriptor_pool.Default()\n"
        "for name in ('utils.ReqData', 'protocol.LoaderInput', 'aiges.Request', 'inference.ModelInferRequest'):\n"
        "    try:\n        pool.FindMessageTypeByName(name)\n"
        "    except KeyError:\n        continue\n"
        "    raise SystemExit(name)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_aiges_clients_do_is_counted_like_every_other_call(service: Running, client: Xsf) -> None:
    """Sessions and calls are those of the engine."""
    from loader.v1 import admin_pb2

    def execs() -> float:
        values = service.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30).values
        return sum(value for name, value in values.items() if "execs" in name and 'engine="echo"' in name)

    before = execs()
    client.once("echo", [payload("in", b"x")])
    assert execs() == before + 1


def test_grpc_itself_refuses_what_is_not_there(service: Running) -> None:
    """A method that XsfCall does not have."""
    with pytest.raises(grpc.RpcError) as caught:
        service.channel.unary_unary("/utils.XsfCall/other")(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_drain_lets_open_sessions_come_to_their_end(tmp_path: Path) -> None:
    """Connections stay until the last session has ended; new ones are refused with 10110."""
    config = f"drain_timeout_s: 20\nengines:\n  echo: {{wrapper: {WRAPPERS / 'echo_c'}, slots: 4}}\n"
    with Running(tmp_path, config) as running:
        client = Xsf(running.ready["grpc"], is_fresh=True)
        session = client.echoed(client.create("echo"))
        running.process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            answer = client.send("AIIn", None, xsf.LoaderInput(serviceId="echo"), SeqNo="1")
            client.send("AIExcp", answer.response.s)
            return bool(answer.response.code == 10110)

        until(is_refused, "the drain has begun")
        body = xsf.LoaderInput(sync_id=1, pl=[payload("in", b"last", status="2")])
        texts = client.call("AIIn", session, body).texts
        while client.transcript[-1][2] != END:
            texts += client.call("AIOut", session).texts
        assert texts == ["last"]
        assert running.process.wait(40) == 0
        client.close()


REPLACED = """
    import time
    from pathlib import Path

    from loader import Wrapper


    class Replaced(Wrapper):
        def init(self, config):
            end = time.monotonic() + 50
            while config["gate"] and not Path(config["gate"]).exists() and time.monotonic() < end:
                time.sleep(0.02)
            self.word = config["word"]

        def exec(self, request):
            return {"text": self.word}
"""


def test_calls_wait_while_their_engine_is_replaced_in_place(tmp_path: Path) -> None:
    """As long as their waitTime allows: 10110 then, and an answer of the new engine where it comes in time."""
    (tmp_path / "replaced.py").write_text(dedent(REPLACED))

    def config(word: str, gate: str) -> str:
        keys = f"wrapper: replaced.py, replace: in_place, config: {{word: {word}, gate: '{gate}'}}"
        return f"engines:\n  echo: {{{keys}}}\n"

    with Running(tmp_path, config("one", "")) as running:
        client = Xsf(running.ready["grpc"])
        given = xsf.LoaderInput(serviceId="echo", state=1, pl=[payload("in", b"x", status="3")])
        assert client.call("AIIn", None, given, SeqNo="1").texts == ["one"]
        gate = tmp_path / "gate"
        running.rewrite(config("two", str(gate)))

        def is_held() -> bool:
            answer = client.send("AIIn", None, given, SeqNo="1", waitTime="100")
            return bool(answer.response.code == 10110)

        until(is_held, "the replacement has begun")
        waiting = client.begin("AIIn", None, given, SeqNo="1", waitTime="40000")
        gate.touch()
        assert client.answer_of("AIIn", waiting).texts == ["two"]
        client.close()

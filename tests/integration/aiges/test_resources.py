"""Personal resources through the whole loader: AdminService and AILoad in front, C and Python wrappers behind.

Beside an AIGES library (`library`, two instances) and an AIGES class (`voice`) an engine of our own (`own`, two
instances) whose data says what its load does: it may refuse, in one instance only, or in the version that comes next.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import grpc
import psutil
import pytest
import xsf_protos as xsf
from running import Running, command, until
from xsf_client import ONCE, ONCE_STATE, OTHER, ServiceError, Xsf, payload

from loader.client import Client
from loader.client.failures import from_rpc
from loader.errors import UnknownResourceError
from loader.v1 import admin_pb2, loader_pb2

SOURCES = Path(__file__).parents[2] / "cpp/host/aiges"
WRAPPERS = Path(__file__).parents[3] / "wrappers"

VOICE = """
    from aiges.dto import DataListCls, Response, ResponseData
    from aiges.sdk import StringBodyField, WrapperBase


    class Wrapper(WrapperBase):
        serviceId = "voice"
        resources = {}

        def wrapperInit(self, config):
            return 0

        def wrapperFini(self):
            return 0

        def wrapperLoadRes(self, reqData: DataListCls, patch_id):
            node = reqData.list[0]
            if node.data == b"bad":
                return 5
            self.resources[patch_id] = f"{node.key}={node.data.decode()}"
            return 0

        def wrapperUnloadRes(self, patch_id):
            return 0 if self.resources.pop(patch_id, None) else 6

        def wrapperError(self, ret):
            return f"voice trouble {ret}"

        def wrapperOnceExec(self, params, reqData, usrTag="", persId=0):
            node = ResponseData()
            node.key = "text"
            node.setData(f"{type(persId).__name__} {persId} {self.resources.get(persId)}".encode())
            made = Response()
            made.list = [node]
            return made
"""

OWN = """
    import os
    import threading

    from loader import Error, Int, Session, Wrapper


    class OwnSession(Session):
        def __init__(self, engine, params):
            self.engine, self.ids = engine, params["resource_ids"]

        def write(self, frame):
            return {"text": "".join(self.engine.words[one] for one in self.ids)}


    class Own(Wrapper):
        parameters = {"rate": Int(1)}

        def init(self, config):
            self.words, self.refuses = {}, config.get("refuses", "")

        def load_resource(self, number, key, data, attributes):
            text = data.decode()
            if text == "one only":  # of the instances
                try:
                    os.close(os.open(f"taken-{number}", os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    raise Error(33, "no room here") from None
            if text in ("hang", "slow"):
                threading.Event().wait(None if text == "hang" else 4)
            if self.refuses and text.startswith(self.refuses):
                raise Error(44, "not in this version")
            self.words[number] = f"{key}:{text}:{attributes}"

        def unload_resource(self, number):
            del self.words[number]

        def create(self, params):
            return OwnSession(self, params)

        def exec(self, request):
            return {"text": str(sorted(self.words))}
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("resources")
    build = [
        "g++",
        "-std=c++20",
        "-O1",
        "-shared",
        "-fPIC",
        "-fvisibility=hidden",
        "-D_GNU_SOURCE",
        "-pthread",
    ]
    subprocess.run(
        [*build, str(SOURCES / "scripted.cpp"), "-o", str(folder / "scripted.so")], check=True, timeout=120
    )
    for name, text in (("voice", VOICE), ("own", OWN)):
        (folder / name).mkdir()
        (folder / name / "wrapper.py").write_text(dedent(text))
    shutil.copy(folder / "scripted.so", folder / "inline.so")  # with global variables of its own
    with Running(folder, config_of(""), ("--grpc", "0.0.0.0:0")) as running:
        yield running


def config_of(refuses: str, replace: str = "surge") -> str:
    restart = "restart: {backoff_s: 0.01, intensity: 100}"
    return dedent(f"""
        data_plane_threads: 2
        engines:
          library: {{wrapper: scripted.so, slots: 4, instances: 2, {restart}}}
          inline: {{wrapper: inline.so, slots: 4, isolation: inline}}
          voice: {{wrapper: voice, slots: 2}}
          own:
            wrapper: own
            slots: 4
            instances: 2
            resources: {{count: 4, total_bytes: 200000}}
            config: {{refuses: "{refuses}"}}
            replace: {replace}
          hanging: {{wrapper: own, slots: 2, threads: 2, call_timeout_ms: 2000, destroy_timeout_ms: 100, {restart}}}
          plain: {{wrapper: {WRAPPERS / "echo_c"}, slots: 2}}
    """)


@pytest.fixture
def client(served: Running) -> Iterator[Client]:
    with Client(served.ready["grpc"]) as made:
        yield made


@pytest.fixture
def wire(served: Running) -> Iterator[Xsf]:
    made = Xsf(served.ready["grpc"])
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clean(served: Running) -> Iterator[None]:
    """Each test leaves nothing loaded."""
    yield
    for one in listed(served):
        unload(served, one.engine, one.id)
    until(lambda: not listed(served), "no resource left")


def load(running: Running, engine: str, data: bytes = b"data", timeout_s: float = 30, **fields: Any) -> int:
    request = admin_pb2.LoadResourceRequest(engine=engine, data=data, **fields)
    return int(running.admin.LoadResource(request, timeout=timeout_s).id)


def unload(running: Running, engine: str, number: int, timeout_s: float = 30) -> bool:
    """True: it is pending."""
    request = admin_pb2.UnloadResourceRequest(engine=engine, id=number)
    return bool(running.admin.UnloadResource(request, timeout=timeout_s).is_pending)


def listed(running: Running, engine: str = "") -> list[Any]:
    request = admin_pb2.ListResourcesRequest(engine=engine)
    return list(running.admin.ListResources(request, timeout=30).resources)


def refusal(call: Any) -> tuple[str, str]:
    """Status and text of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def ids(client: Client, engine: str, numbers: Any, count: int = 1) -> list[str]:
    """What so many calls say that name resources, of whichever instance."""
    params = {"do": "ids", "resource_ids": numbers}
    results = [client.exec(engine, {"text": "x"}, params, timeout_s=20)[0] for _ in range(count)]
    return [bytes(one.items[0].data).decode() for one in results]


def test_a_library_gets_it_in_every_instance(served: Running, client: Client) -> None:
    """Key, data and description; patch_id first, whatever the alphabet says. 300 kB travel as well as five bytes."""
    number = load(served, "library", b"hello", key="words", attributes={"a": "1", "patch_id": "p7"})
    (status,) = listed(served, "library")
    assert (status.id, status.key, status.size_bytes, status.state) == (number, "words", 5, "loaded")
    assert [(one.index, one.state) for one in status.instances] == [(0, "loaded"), (1, "loaded")]
    said = f"{number}=words:hello:patch_id=p7;a=1;"
    assert set(ids(client, "library", [number], 8)) == {said}
    assert ids(client, "library", str(number)) == [said]
    large = load(served, "library", b"z" * 300_000)
    assert large == number + 1
    assert len(ids(client, "library", [large])[0]) > 300_000
    assert not unload(served, "library", number)
    with pytest.raises(UnknownResourceError, match=f"resource {number} is not loaded"):
        ids(client, "library", [number])
    assert refusal(lambda: unload(served, "library", number))[0] == "NOT_FOUND"


def test_an_aiges_class_knows_it_by_its_patch_id(served: Running, client: Client) -> None:
    """A text, or without one the number; its own refusal is told with its number and text."""
    named = load(served, "voice", b"deep", key="v", attributes={"patch_id": "anna"})
    numbered = load(served, "voice", b"high", key="w", id=70)
    assert numbered == 70
    assert ids(client, "voice", [named]) == ["str anna v=deep"]
    assert ids(client, "voice", [numbered]) == ["int 70 w=high"]
    assert ids(client, "voice", []) == ["int 0 None"]
    with pytest.raises(grpc.RpcError) as caught:
        load(served, "voice", b"bad")
    error = from_rpc(caught.value, "")
    assert error.message == "instance 0 of voice@1: resource 71: voice trouble 5;code=5"
    assert (error.name, error.engine_code) == ("ENGINE_ERROR", 10903)


def test_one_that_refuses_takes_it_back_from_all(served: Running) -> None:
    """Nobody has it afterwards, and the error names the instance."""
    status, text = refusal(lambda: load(served, "own", b"one only", key="k"))
    assert status == "UNKNOWN"
    assert "of own@1: resource" in text
    assert "no room here" in text
    assert listed(served, "own") == []
    assert served.echo("own") == "[]"


def test_limits_and_what_cannot_be(served: Running) -> None:
    """Each says the value, the limit and the cure."""
    first = load(served, "own", b"x" * 150_000, id=5)
    status, text = refusal(lambda: load(served, "own", b"x" * 60_000))
    assert status == "RESOURCE_EXHAUSTED"
    assert "210000 bytes" in text
    assert "total_bytes is 200000" in text
    assert refusal(lambda: load(served, "own", id=5)) == (
        "INVALID_ARGUMENT",
        "own: resource 5 is loaded: unload it first, or give no id",
    )
    for _ in range(3):
        load(served, "own")
    assert "resources.count is 4" in refusal(lambda: load(served, "own"))[1]
    status, text = refusal(lambda: load(served, "plain"))
    assert status == "UNIMPLEMENTED"
    assert "loader.resources/1" in text
    assert refusal(lambda: load(served, "nobody"))[0] == "NOT_FOUND"
    assert first == 5


def test_an_instance_that_dies_comes_back_with_it(served: Running, client: Client) -> None:
    """Before it is ready: no call in between meets an instance without the resource."""
    number = load(served, "library", b"stays", key="k")
    before = served.instance("library", 0)
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: served.instance("library", 0).restarts > before.restarts, "restart")
    until(lambda: served.instance("library", 0).state == "ready", "ready again")
    assert [one.state for one in listed(served, "library")[0].instances] == ["loaded", "loaded"]
    assert set(ids(client, "library", [number], 8)) == {f"{number}=k:stays:"}


def test_an_unload_waits_for_its_sessions(served: Running, client: Client) -> None:
    """New ones are refused at once; the caller is told that it is pending; then the number is gone."""
    number = load(served, "own", b"mine", key="k")
    with client.session("own", {"resource_ids": [number]}, timeout_s=30) as session:
        results = session.results()
        session.write({"text": "x"})
        assert "k:mine" in next(results)["text"]
        assert unload(served, "own", number, timeout_s=3)
        assert [one.state for one in listed(served, "own")] == ["unloading"]
        with pytest.raises(UnknownResourceError, match=r"is (being unloaded|not loaded)"):
            open_briefly(client, number)
        session.write({"text": "y"})
        assert "k:mine" in next(results)["text"]
        session.end()
        assert list(results) == []
    until(lambda: not listed(served, "own"), "unloaded")
    with pytest.raises(UnknownResourceError):
        open_briefly(client, number)
    assert load(served, "own") > number, "a number is not given to somebody else"


def open_briefly(client: Client, number: int) -> None:
    with client.session("own", {"resource_ids": [number]}, timeout_s=30) as session:
        session.write({"text": "x"})
        next(session.results())


def test_a_new_version_has_it_or_does_not_come(served: Running, client: Client) -> None:
    """A rollout gives the new instances all there is; where they refuse, it is undone and names the resource."""
    number = load(served, "own", b"kept", key="k")
    rollouts = served.log_lines("configuration")
    pids = {served.instance("own", index).pid for index in (0, 1)}
    served.rewrite(config_of("kep"))
    until(lambda: len(served.log_lines("configuration")) > len(rollouts), "a rollout")
    failed = until(lambda: ended(served, len(rollouts)), "its end")
    assert failed["state"] == "rolled_back"
    assert f"failed at resources: resource {number} (k): not in this version" in failed["error"]
    assert {served.instance("own", index).pid for index in (0, 1)} == pids
    rollouts = served.log_lines("configuration")
    served.rewrite(config_of("nothing"))
    done = until(lambda: ended(served, len(rollouts)), "the next")
    assert done["state"] == "applied", done
    until(lambda: pids.isdisjoint({served.instance("own", index).pid for index in (0, 1)}), "replaced")
    until(lambda: len(listed(served, "own")[0].instances) == 2, "the old ones gone")
    open_briefly(client, number)
    rollouts = served.log_lines("configuration")
    with client.session("own", {"resource_ids": [number]}, timeout_s=60) as session:
        session.write({"text": "x"})
        next(session.results())
        served.rewrite(config_of("nobody", replace="in_place"))
        until(
            lambda: load_refusal(served).startswith("UNAVAILABLE: own is being replaced in place"),
            "an engine that waits for this session",
        )
        session.end()
        assert list(session.results()) == []
    done = until(lambda: ended(served, len(rollouts)), "the last")
    assert done["state"] == "applied", done
    open_briefly(client, number)


def load_refusal(served: Running) -> str:
    """Of a load that may also be taken, and is then taken back."""
    try:
        unload(served, "own", load(served, "own"))
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return ""


def test_a_load_that_takes_too_long_is_taken_back(served: Running) -> None:
    """The caller hears of it within his deadline, and which instance it was."""
    for _ in range(5):
        status, text = refusal(lambda: load(served, "own", b"slow", timeout_s=2))
        assert status == "DEADLINE_EXCEEDED"
        until(lambda: not listed(served, "own"), "taken back")
        if "it is taken back" in text:  # else the machine stood still, and gRPC's own deadline came first
            break
    assert "instance 0 of own@1, instance 1 of own@1: resource" in text
    assert "it is taken back" in text
    assert served.echo("own") == "[]"


def test_a_load_that_hangs_costs_its_instance(served: Running) -> None:
    """As a call that hangs: told when call_timeout_ms is over, and the instance is started again."""
    status, text = refusal(lambda: load(served, "hanging", b"hang"))
    assert status == "UNKNOWN"
    assert text.endswith("the load of resource 1 did not return within 2000 ms"), text
    until(lambda: served.instance("hanging").restarts == 1, "restart")
    until(lambda: served.instance("hanging").state == "ready", "ready again")
    assert load(served, "hanging", b"fine") == 2


def ended(running: Running, after: int) -> Any:
    """What became of the rollout that follows so many log lines."""
    told = [one for one in running.log_lines("configuration")[after:] if one["state"] != "applying"]
    return told[0] if told else None


def aiges_load(wire: Xsf, service: str, params: dict[str, str], data: bytes, **attributes: str) -> Any:
    body = xsf.LoaderInput(
        serviceId=service, state=ONCE_STATE, params=params, pl=[payload("words", data, OTHER, **attributes)]
    )
    return wire.call("AILoad", None, body).output


def aiges_unload(wire: Xsf, service: str, number: str) -> Any:
    return wire.call(
        "AIUnLoad", None, xsf.LoaderInput(serviceId=service, params={"resource_id": number})
    ).output


@pytest.mark.parametrize("engine", ["library", "inline", "voice"])
def test_aiges_clients_load_name_and_unload(served: Running, wire: Xsf, engine: str) -> None:
    """The number comes back as a payload; calls name it in their params; errors are those of AIGES."""
    loaded = aiges_load(wire, engine, {}, b"hi", patch_id="p")
    assert (loaded.code, loaded.status, loaded.pl[0].meta.name) == (0, ONCE, "resource_id")
    number = bytes(loaded.pl[0].data).decode()
    assert [str(one.id) for one in listed(served, engine)] == [number]
    assert dict(listed(served, engine)[0].attributes) == {"patch_id": "p"}

    def once() -> str:
        params = {"do": "ids", "resource_ids": number}
        return bytes(wire.once(engine, [payload("in", b"x")], params=params).pl[0].data).decode()

    assert "words" in once()
    gone = aiges_unload(wire, engine, number)
    assert (gone.code, gone.pl[0].meta.attribute["state"]) == (0, "unloaded")
    with pytest.raises(ServiceError, match=r"^10106: resource \d+ is not loaded"):
        once()
    again = aiges_unload(wire, engine, number)
    assert again.code == 10904
    assert again.err.endswith(";code=1013"), again.err
    refused = aiges_load(wire, engine, {"res_id": "9"}, b"bad" if engine == "voice" else b"")
    assert refused.code == 10903
    assert refused.err == ("voice trouble 5;code=5" if engine == "voice" else "text of 72;code=72")
    assert aiges_load(wire, engine, {"res_id": "nine"}, b"x").err.endswith(";code=1001")


def test_another_machine_may_not(served: Running) -> None:
    """They change the engine for everybody: allowed as AdminService is. Calls that name nothing do no harm."""
    here = (a for all_ in psutil.net_if_addrs().values() for a in all_ if a.family is socket.AF_INET)
    outside = next((one.address for one in here if not one.address.startswith("127.")), "")
    if not outside:
        pytest.skip("this machine has only loopback: nothing here looks like another machine")
    far = Xsf(f"{outside}:{served.ready['grpc'].rpartition(':')[2]}")
    refused = aiges_load(far, "library", {}, b"x")
    assert refused.code == 10903
    assert "admin_listen" in refused.err
    assert refused.err.endswith(";code=3009")
    assert aiges_unload(far, "library", "1").code == 10904
    assert far.call("AILoad", None, xsf.LoaderInput(serviceId="library")).summary == (0, 0, [])
    assert listed(served, "library") == []
    far.close()


@pytest.mark.parametrize("op", ["AILoad", "AIUnLoad"])
def test_what_names_no_resource_has_no_effect(wire: Xsf, op: str) -> None:
    """As on AIGES: accepted, for engines with resources and without."""
    for engine in ("library", "plain"):
        assert wire.call(op, None, xsf.LoaderInput(serviceId=engine)).summary == (0, 0, [])
    body = xsf.LoaderInput(serviceId="plain", params={"resource_id": "1"}, pl=[payload("words", b"x")])
    assert wire.call(op, None, body).summary == (0, 0, [])


def test_ctl_loads_lists_and_unloads(served: Running, tmp_path: Path) -> None:
    """`loader ctl resource`, in the form that scripts read."""
    (tmp_path / "words.txt").write_bytes(b"one two")

    def ctl(*arguments: str) -> tuple[int, Any]:
        line = command("ctl", "resource", *arguments, "--address", served.ready["grpc"], "-o", "json")
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    code, value = ctl("load", "own", str(tmp_path / "words.txt"), "-a", "patch_id=p", "--id", "900")
    assert (code, value["id"]) == (0, 900)
    code, rows = ctl("list", "own")
    assert code == 0
    assert [(one["id"], one["key"], one["size_bytes"], one["state"]) for one in rows] == [
        (900, "words.txt", 7, "loaded")
    ]
    assert rows[0]["instances"] == {"1/0": "loaded", "1/1": "loaded"}
    assert ctl("unload", "own", "900")[0] == 0
    assert ctl("unload", "own", "900")[0] == 1
    code, text = ctl("load", "plain", str(tmp_path / "words.txt"))
    assert code == 1
    assert "takes no resources" in text


def test_describe_says_who_takes_resources(served: Running) -> None:
    """Libraries by their symbols, classes by their methods."""
    said = served.engine.Describe(loader_pb2.DescribeRequest(), timeout=30).engines
    assert {one.name: one.has_resources for one in said} == {
        "library": True, "inline": True, "voice": True, "own": True, "hanging": True, "plain": False,
    }  # fmt: skip

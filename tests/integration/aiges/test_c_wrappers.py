"""AIGES C libraries served unmodified: by name and by path, in a process and inline, with all that they do wrong.

The libraries are tests/cpp/host/aiges/*: what a call does is its parameter `do`.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import xsf_protos as xsf
from running import Running, command, until
from xsf_client import END, ServiceError, Xsf, payload

from loader import Item
from loader.client import Client
from loader.errors import CallHungError, EngineDiedError, LoaderError

SOURCES = Path(__file__).parents[2] / "cpp/host/aiges"
WAYS = ["process", "inline"]
EVERYTHING = [
    "wrapperInit", "wrapperFini", "wrapperError", "wrapperVersion", "wrapperLoadRes", "wrapperUnloadRes",
    "wrapperCreate", "wrapperWrite", "wrapperRead", "wrapperDestroy", "wrapperExec", "wrapperExecFree",
    "wrapperExecAsync", "wrapperDebugInfo", "wrapperSetCtrl",
]  # fmt: skip


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of libraries; each inline engine has a file, and so globals, of its own."""
    folder = tmp_path_factory.mktemp("aiges-c")
    shared = ["-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE", "-pthread"]
    scripted = ["g++", "-std=c++20", *shared, str(SOURCES / "scripted.cpp")]
    builds = [
        ["gcc", "-std=c11", *shared, str(SOURCES / "echo.c"), "-o", str(folder / "libwrapper.so")],
        [*scripted, "-o", str(folder / "scripted.so")],
        [*scripted, "-DMANGLED", "-DNO_EXECASYNC", "-DNO_CREATE", "-o", str(folder / "mangled.so")],
    ]
    running = [subprocess.Popen(build) for build in builds]
    assert [one.wait(120) for one in running] == [0, 0, 0]
    for name in ("read", "called"):
        (folder / f"{name}.so").write_bytes((folder / "scripted.so").read_bytes())
    return folder


@pytest.fixture(scope="module")
def served(libraries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One loader for all: each mode in a process and inline, one engine that may die, one that cannot start."""
    of_all = 'slots: 8, config: {"a.b": 1.50}'
    called = "slots: 8, config: {aiges: {async_mode: true}}"
    config = f"""
engines:
  echo:
    wrapper: libwrapper.so
    environment: {{LD_LIBRARY_PATH: "/nonexistent:{libraries}"}}
    slots: 100
  read-process: {{wrapper: {libraries}/scripted.so, {of_all}}}
  read-inline: {{wrapper: {libraries}/read.so, isolation: inline, {of_all}}}
  called-process: {{wrapper: {libraries}/scripted.so, {called}}}
  called-inline: {{wrapper: {libraries}/called.so, isolation: inline, {called}}}
  frail:
    {{wrapper: {libraries}/scripted.so, call_timeout_ms: 2000, hang_grace_ms: 100,
      restart: {{backoff_s: 0.01, intensity: 100}}, {of_all}}}
  unlucky: {{wrapper: {libraries}/scripted.so, config: {{fail_init: 7}}, restart: {{intensity: 0}}}}
"""
    with Running(tmp_path_factory.mktemp("loader"), config) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Running) -> Iterator[Client]:
    """A client of that loader."""
    with Client(served.ready["grpc"]) as client:
        yield client


@pytest.mark.parametrize("way", WAYS)
def test_an_error_by_callback_comes_while_the_client_only_listens(client: Client, way: str) -> None:
    """It is told when it is called back, behind the results before it, and not with the next input."""
    with client.session(f"called-{way}", {"do": "late_error"}, timeout_s=20) as session:
        session.write({"in": "x"})
        results = session.results()
        assert [next(results)["n"] for _ in range(2)] == ["before", "before"]
        with pytest.raises(LoaderError) as raised:
            next(results)
    assert (raised.value.engine_code, raised.value.engine_message) == (10910, "text of 33;code=33")


def report(client: Client, engine: str, what: str) -> str:
    """What the library says about itself."""
    [result] = client.exec(engine, {"in": "x"}, params={"do": what}, timeout_s=20)
    return str(result["report"])


def failure(client: Client, engine: str, what: str) -> LoaderError:
    """The error of one call."""
    with pytest.raises(LoaderError) as caught:
        client.exec(engine, {"in": "x"}, params={"do": what}, timeout_s=20)
    return caught.value


def test_a_library_is_found_by_its_name(client: Client, served: Running) -> None:
    """`wrapper: libwrapper.so` is looked for in the engine's LD_LIBRARY_PATH; threads follow its slots."""
    [result] = client.exec("echo", {"in": Item(b"\0\1", type="audio")}, timeout_s=20)
    assert (result["in"], result.items[0].type, result.items[0].status) == (b"\0\1", "audio", "once")
    [host] = [one for one in served.hosts() if one.pid == served.instance("echo").pid]
    assert host.environ()["LD_LIBRARY_PATH"].startswith("/nonexistent:")


@pytest.mark.parametrize("way", WAYS)
def test_one_shot_calls(client: Client, way: str) -> None:
    """Items, attributes and parameters reach the library as nodes and texts; the result is freed once."""
    item = Item("data", attributes={"encoding": "utf8"})
    [result] = client.exec(f"read-{way}", {"in": item}, params={"rate": 16000}, timeout_s=20)
    assert result["in"] == "data"
    assert result.items[0].attributes == {"seen": "type 0 status 3 desc encoding=utf8;"}
    assert report(client, f"read-{way}", "params") == "do=params;sid=;"
    assert report(client, f"read-{way}", "config") == "a.b=1.5;"
    assert " wrong 0 " in report(client, f"read-{way}", "counters")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", ["thread", "inside", "twice"])
def test_asynchronous_calls(client: Client, way: str, what: str) -> None:
    """The first callback is the result, from whatever thread."""
    [result] = client.exec(f"called-{way}", {"in": "data"}, params={"do": what}, timeout_s=20)
    assert result["in"] == "data"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("engine", "what"), [("read", "echo"), ("called", "thread"), ("called", "inside"), ("called", "early")]
)
def test_results_leave_before_the_next_write(client: Client, engine: str, way: str, what: str) -> None:
    """Each result comes while the client waits for it with its next frame in hand; END ends the session."""
    with client.session(f"{engine}-{way}", params={"do": what}, timeout_s=20) as session:
        results = session.results()
        if what == "early":
            assert next(results)["n"] == "early"
        for text in ("one", "two"):
            session.write({"in": text})
            assert next(results)["in"] == text
        session.write({"in": Item("three", status="end")})
        session.end()
        assert [(one["in"], one.items[0].status) for one in results] == [("three", "end")]


@pytest.mark.parametrize("way", WAYS)
def test_results_are_in_order_whatever_the_client_does(client: Client, way: str) -> None:
    """8 MB of callbacks from a thread of the library's while the client has read nothing."""
    with client.session(f"called-{way}", params={"do": "flood"}, timeout_s=60) as session:
        session.write({"in": Item("go", status="end")})
        session.end()
        until(lambda: report(client, f"called-{way}", "counters"), "another call is served meanwhile")
        assert [int(one["n"].rstrip(".")) for one in session.results()] == list(range(400))


@pytest.mark.parametrize("way", WAYS)
def test_errors_have_their_code_and_the_librarys_text(client: Client, way: str) -> None:
    """Positive outer codes; the message is wrapperError's text and the number."""
    error = failure(client, f"read-{way}", "fail")
    assert (error.engine_code, error.engine_message) == (10909, "text of 21111;code=21111")
    error = failure(client, f"called-{way}", "error")
    assert (error.engine_code, error.engine_message) == (10910, "text of 33;code=33")
    expected = {"create_fails": (10905, 44), "write_fails": (10907, 55), "read_fails": (10908, 66)}
    for what, (code, number) in expected.items():
        with (
            pytest.raises(LoaderError) as caught,
            client.session(f"read-{way}", params={"do": what}, timeout_s=20) as session,
        ):
            session.write({"in": "x"})
            list(session.results())
        assert caught.value.engine_code == code
        assert caught.value.engine_message == f"text of {number};code={number}"


def test_a_crash_and_a_hang_cost_one_call_each(client: Client, served: Running) -> None:
    """One error; the process is replaced; the next call is served."""
    for what, kind in (("segfault", EngineDiedError), ("hang", CallHungError)):
        before = served.instance("frail").pid
        assert isinstance(failure(client, "frail", what), kind)
        until(
            lambda before=before: (one := served.instance("frail")).state == "ready" and one.pid != before,
            "the replacement is ready",
        )
        assert report(client, "frail", "config") == "a.b=1.5;"


def test_a_hang_is_told_to_clients_of_aiges(served: Running, client: Client) -> None:
    """10102 with END when the call has hung, long before their waitTime; the slot is back and the next is served."""
    stock = Xsf(served.ready["grpc"], timeout_ms=40_000)
    body = xsf.LoaderInput(serviceId="frail", state=1, pl=[payload("in", b"x")])

    def is_served() -> bool:
        return bool(stock.send("AIIn", None, body, SeqNo="1").output.code == 0)

    try:
        until(is_served, "the process before it")
        began = time.monotonic()
        with pytest.raises(ServiceError, match=r"^10102: ") as caught:
            stock.once("frail", [payload("in", b"x")], params={"do": "hang"})
        assert caught.value.output.status == END
        assert time.monotonic() - began < 30
        until(is_served, "the replacement serves")
    finally:
        stock.close()


def test_fini_comes_once_and_last(libraries: Path, tmp_path: Path) -> None:
    """When the loader ends, every session that was still open has been destroyed before."""
    told = tmp_path / "fini"
    config = f"""
drain_timeout_s: 0.1
engines:
  read: {{wrapper: {libraries}/scripted.so, slots: 4, config: {{fini_file: {told}}}}}
"""
    with Running(tmp_path, config) as running:
        stock = Xsf(running.ready["grpc"])
        for _ in range(3):
            session = stock.echoed(stock.create("read", params={"do": "echo"}))
            body = xsf.LoaderInput(sync_id=1, pl=[payload("in", b"x", status="1")])
            texts = stock.call("AIIn", session, body).texts
            assert texts or stock.call("AIOut", session, waitTime="10000").texts == ["x"]
        stock.close()
    assert told.read_text() == "created 3 destroyed 3\n"


def test_a_failed_init_says_why(served: Running) -> None:
    """wrapperError's text is the instance's error; its neighbours serve."""
    status = until(lambda: (s := served.instance("unlucky")).state == "failed" and s, "given up")
    assert "text of 7;code=7" in status.error


def check(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("check", *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def test_check_says_which_symbols_are_there(libraries: Path, tmp_path: Path) -> None:
    """By path and by name; the 15 are counted, the absent ones named."""
    done = check(str(libraries / "scripted.so"))
    assert done.returncode == 0
    assert "ABI of AIGES" in done.stdout
    assert f"AIGES symbols: 15 of 15: {', '.join(EVERYTHING)}" in done.stdout
    done = check("libwrapper.so", LD_LIBRARY_PATH=str(libraries))
    assert done.returncode == 0, done.stderr
    assert "AIGES symbols: 10 of 15" in done.stdout
    assert "not exported: wrapperLoadRes, wrapperUnloadRes, wrapperExecAsync" in done.stdout
    missing = check("libwrapper.so", LD_LIBRARY_PATH=str(tmp_path))
    assert missing.returncode == 3
    assert "the name of a .so in LD_LIBRARY_PATH" in missing.stderr


def test_check_says_what_a_mangled_symbol_means(libraries: Path) -> None:
    """The name as it is exported, why, and the cure; it is no wrapper without it."""
    done = check(str(libraries / "mangled.so"))
    assert done.returncode == 3
    assert "wrapperExec as _Z11wrapperExecPKvP9ParamList" in done.stderr
    assert "compiled as a C++ overload" in done.stderr
    assert 'declare the definition itself extern "C"' in done.stderr

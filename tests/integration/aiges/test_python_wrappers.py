"""AIGES wrappers of every era and flavour, unmodified, in one running loader: what a client of them sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest
import xsf_protos as xsf
from running import Running, command, until
from xsf_client import ServiceError, Source, Xsf, payload

from loader import errors
from loader.client import Client, Item, Result

HERE = Path(__file__).parent
WRAPPERS = HERE / "python_wrappers"
LIMIT_S = 20
NAMES = ("e3_sdk", "e2_mixed", "e1_read", "e0_class", "v1_functions", "traps", "async_once")


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One loader with all of them; `traps_async` is traps.py with async_mode, `held` without real_time_result."""
    folder = tmp_path_factory.mktemp("aiges-python")
    engines = {name: {"wrapper": str(WRAPPERS / f"{name}.py"), "slots": 8} for name in NAMES}
    engines["e3_sdk"] |= {"config": {"log_level": "debug", "rate": 16000, "ratio": 2.5, "is_on": True}}
    engines["v1_functions"] |= {"environment": {"DESTROYED": str(folder / "destroyed")}}
    engines["habits"] = {"wrapper": str(WRAPPERS / "habits"), "slots": 8}
    engines["e3_sdk"] |= {"restart": {"backoff_s": 0.01}}
    engines["traps_async"] = engines["traps"] | {"config": {"aiges": {"async_mode": True}}}
    engines["held"] = engines["e3_sdk"] | {"config": {"aiges": {"real_time_result": False}}}
    with Running(folder, json.dumps({"engines": engines})) as running:
        yield running


@pytest.fixture(scope="module")
def client(loader: Running) -> Iterator[Client]:
    """Shared by all."""
    with Client(loader.ready["grpc"]) as one:
        yield one


def once(client: Client, engine: str, items: Mapping[str, object], **params: object) -> list[Result]:
    return client.exec(engine, items, params, timeout_s=LIMIT_S)


def failure_of(client: Client, engine: str, items: Mapping[str, object], **params: object) -> tuple[int, str]:
    with pytest.raises(errors.LoaderError) as raised:
        once(client, engine, items, **params)
    return raised.value.engine_code, raised.value.engine_message


def pairs_of(results: list[Result]) -> list[tuple[str, object, str]]:
    """(key, value, status) of every item."""
    return [(one.key, one.value, one.status) for result in results for one in result.items]


def test_once_by_the_newest_signatures(client: Client) -> None:
    """Parameters and configuration are texts, sid is always there, data is bytes, every status becomes ONCE."""
    [result] = once(client, "e3_sdk", {"input": "hi", "image": Item(b"\0", type="image")}, rate=3, on=True)
    assert [(one.type, one.status) for one in result.items] == [("text", "once")]
    told = json.loads(result["result"])
    assert told["params"] == {"rate": "3", "on": "true", "sid": ""}
    assert told["config"] == {"log_level": "debug", "rate": "16000", "ratio": "2.5", "is_on": "true"}
    assert told["nodes"] == [["input", 2, 0, 3, {}], ["image", 1, 2, 3, {}]]
    assert told["constructed_with"]["is_aipaas"] is True
    assert (told["pers"], told["has_tag"]) == (0, True)


def test_each_call_gets_dictionaries_of_its_own(client: Client) -> None:
    """What a wrapper does to its parameters is gone with the call."""
    for _ in range(2):
        [result] = once(client, "e3_sdk", {"input": "hi"}, p="x")
        assert json.loads(result["result"])["params"] == {"p": "x", "sid": ""}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error 100", (10909, "no result..;code=100")),
        ("error -3", (10909, ";code=-3")),
        ("none", (10909, "wrapperOnceExec returned NoneType without a result;code=-1")),
        ("raise", (10909, "KeyError: 'asked to';code=-1")),
    ],
)
def test_a_failed_call_says_what_the_wrapper_said(
    loader: Running, client: Client, text: str, expected: tuple[int, str]
) -> None:
    """The code is the operation's, the text wrapperError's and the wrapper's number; the log has the traceback."""
    assert failure_of(client, "e3_sdk", {"input": text}) == expected
    if text == "raise":
        until(lambda: 'raise KeyError(\\"asked to\\")' in loader.log_text(), "the traceback in the log")
    assert once(client, "e3_sdk", {"input": "next"})


@pytest.mark.parametrize("by", ["tag", "sid"])
def test_a_session_by_callback(client: Client, by: str) -> None:
    """Results come from another thread, found by usrTag or sid, also before Create returned; END ends it."""
    with client.session("e3_sdk", {"by": by, "sid": "S-1", "early": "1"}, timeout_s=LIMIT_S) as session:
        results = session.results()
        assert pairs_of([next(results)]) == [("result", "early", "begin")]
        session.write({"input": "a"})
        assert pairs_of([next(results)]) == [("result", "A", "begin")]  # while no further input comes
        session.write({"input": "b"})
        assert pairs_of([next(results)]) == [("result", "B", "continue")]
        session.write({"input": Item("c", status="end")})
        session.end()
        assert pairs_of(list(results)) == [("result", "C", "end")]


def test_a_late_callback_is_refused(loader: Running, client: Client) -> None:
    """After END a callback returns -1; nothing is sent."""
    with client.session("e3_sdk", timeout_s=LIMIT_S) as session:
        session.write({"input": Item("a", status="end")})
        session.end()
        assert pairs_of(list(session)) == [("result", "A", "end")]
    until(lambda: "late callback returned -1" in loader.log_text(), "a refused callback in the log")
    assert "late callback returned 0" not in loader.log_text()


def test_two_sessions_of_one_sid_keep_apart(client: Client) -> None:
    """No result reaches another client than the one it is for, whatever sid that one has chosen."""
    options = {"by": "sid", "sid": "SAME"}
    with (
        client.session("e3_sdk", options, timeout_s=LIMIT_S) as first,
        client.session("e3_sdk", options, timeout_s=LIMIT_S) as second,
    ):
        second.write({"input": Item("two", status="end")})
        second.end()
        assert pairs_of(list(second)) == [("result", "TWO", "end")]
        first.write({"input": Item("one", status="end")})
        first.end()
        assert pairs_of(list(first)) == [("result", "ONE", "end")]


def test_a_client_without_statuses_ends_with_end(client: Client) -> None:
    """`end` is an empty END for each key; the wrapper answers it as its own."""
    with client.session("e3_sdk", timeout_s=LIMIT_S) as session:
        session.write({"input": "a"})
        session.end()
        assert pairs_of(list(session)) == [("result", "A", "begin"), ("result", "", "end")]


def test_an_error_by_callback_ends_the_session(client: Client) -> None:
    """error_code of a callback: 10910 with wrapperError's text."""
    with client.session("e3_sdk", timeout_s=LIMIT_S) as session:
        session.write({"input": Item("error 100", status="end")})
        session.end()
        with pytest.raises(errors.LoaderError) as raised:
            list(session)
    assert (raised.value.engine_code, raised.value.engine_message) == (10910, "no result..;code=100")


def failure_while_listening(client: Client, engine: str, items: Mapping[str, object]) -> tuple[int, str]:
    """What ends a session of one write, from which no further input comes."""
    with client.session(engine, timeout_s=LIMIT_S) as session:
        session.write(items)
        with pytest.raises(errors.LoaderError) as raised:
            list(session.results())  # which does not end the input
    return raised.value.engine_code, raised.value.engine_message


def test_an_error_by_callback_comes_while_the_client_only_listens(client: Client) -> None:
    """It is told when it is called back, not with the next input, of which there is none."""
    found = failure_while_listening(client, "e3_sdk", {"input": "error 100"})
    assert found == (10910, "no result..;code=100")


def test_a_worker_that_dies_fails_its_session_and_is_replaced(loader: Running, client: Client) -> None:
    """More often than the pool has places: each session hears of it at once, and the next one is served."""
    for _ in range(12):
        found = failure_while_listening(client, "e2_mixed", {"in": "die"})
        assert found == (10910, "KeyError: 'dead';code=-1")
    with client.session("e2_mixed", timeout_s=LIMIT_S) as session:
        session.write({"in": Item("x", status="end")})
        session.end()
        assert len(list(session)) == 3
    until(lambda: 'raise KeyError(\\"dead\\")' in loader.log_text(), "the traceback in the log")


def test_a_refused_create_gives_its_slot_back(client: Client) -> None:
    """SessionCreateResponse.error_code: 10905; the next one is served."""
    for _ in range(10):
        with (
            pytest.raises(errors.LoaderError) as raised,
            client.session("e3_sdk", {"refuse": "1"}, timeout_s=LIMIT_S),
        ):
            pass
        assert (raised.value.engine_code, raised.value.engine_message) == (10905, "no result..;code=100")
    assert once(client, "e3_sdk", {"input": "next"})


def test_results_held_until_the_last_input(client: Client) -> None:
    """real_time_result: false: nothing before the last input, then everything in order."""
    with client.session("held", {"early": "1"}, timeout_s=LIMIT_S) as session:
        session.write({"input": "a"})
        session.write({"input": Item("b", status="end")})
        session.end()
        values = [value for _, value, _ in pairs_of(list(session))]
    assert values == ["early", "A", "B"]


def test_workers_of_the_sdk(client: Client) -> None:
    """aiges.stream's pool, more sessions one after the other than it has workers, callbacks by sid."""
    for _ in range(12):
        with client.session("e2_mixed", timeout_s=LIMIT_S) as session:
            session.write({"in": Item("x", status="end")})
            session.end()
            values = [value for _, value, _ in pairs_of(list(session))]
        assert values == [f"0 True {number}" for number in range(3)]


def test_appended_results_and_constructor_arguments(client: Client) -> None:
    """`res.list.append(...)` counts; ResponseData takes its fields; str is as good as bytes."""
    [result] = once(client, "e2_mixed", {"in": "x"})
    assert [(one.key, one.type) for one in result.items] == [("kind", "text"), ("tag", "text")]
    assert result["kind"] == "text"
    assert result["tag"] != ""


def test_signatures_of_2022(client: Client) -> None:
    """Assigned str data, a wrong len, keys that repeat; StringBodyField of str; a test file that is not there."""
    [result] = once(client, "e1_read", {"data": "abc"})
    assert pairs_of([result]) == [("boxes", "got 3 of abc", "once")] * 2


@pytest.mark.parametrize("params", [{}, {"bare": "1"}])
def test_results_that_are_read(client: Client, params: dict[str, str]) -> None:
    """A wrapper that names no callback is asked by wrapperRead; an empty read is no result; a bare handle is one."""
    with client.session("e1_read", params, timeout_s=LIMIT_S) as session:
        results = session.results()
        session.write({"data": "a"})
        assert pairs_of([next(results)]) == [("boxes", "a", "begin")]
        session.write({"data": Item("b", status="end")})
        session.end()
        assert pairs_of(list(results)) == [("boxes", "b", "end")]


def test_habits_of_authors(client: Client) -> None:
    """Modules and files beside the wrapper, names out of a star, class decorators, the class asked for an error."""
    [result] = once(client, "habits", {"in": "x"}, a="b")
    assert json.loads(str(result["out"])) == ["forty-two", "forty-two", ["a", "sid"]]
    assert failure_of(client, "habits", {"in": "x"}, **{"raise": "1"}) == (10909, "no answer;code=100")


def test_a_read_that_raises(client: Client) -> None:
    """10908, and the next session is served."""

    def read(text: str) -> list[tuple[str, object, str]]:
        with client.session("habits", timeout_s=LIMIT_S) as session:
            session.write({"in": text})
            return pairs_of(list(session))

    with pytest.raises(errors.LoaderError) as raised:
        read("raise")
    assert (raised.value.engine_code, raised.value.engine_message) == (10908, "OSError: cannot read;code=-1")
    assert read("next") == [("out", "next", "end")]


def test_a_class_of_the_first_generation(client: Client) -> None:
    """Six arguments, respData to fill, nodes by subscript; keys that repeat; an error."""
    [result] = once(client, "e0_class", {"in": "x"})
    assert [(one.type, one.data) for one in result.items] == [("audio", b"x!"), ("text", b"[] 0")]
    assert failure_of(client, "e0_class", {"bad": "x"}) == (10909, "error 100;code=100")


def test_module_functions(client: Client, loader: Running) -> None:
    """No class: dictionaries, sessions read by wrapperRead(handle, respData), wrapperDestory once each."""
    [result] = once(client, "v1_functions", {"in": "x"})
    assert result["in"] == "['data', 'desc', 'key', 'len', 'status', 'type']"
    assert result.items[0].attributes == {"a": "b"}
    assert failure_of(client, "v1_functions", {"in": "fail"}) == (10909, "this is a test error;code=100")
    with client.session("v1_functions", timeout_s=LIMIT_S) as session:
        session.write({"in": Item("a", status="begin")})
        session.write({"in": Item("b", status="end")})
        session.end()
        assert pairs_of(list(session)) == [("r", "a", "begin"), ("r", "b", "end")]
    destroyed = loader.folder / "destroyed"
    until(lambda: destroyed.exists() and len(destroyed.read_text().splitlines()) == 1, "one wrapperDestory")


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("list", [("out", "listed", "once")]),
        ("memoryview", [("out", "viewed", "once"), ("out", "arrayed", "once")]),
        ("callback", [("out", "called back", "once")]),
        ("meter", [("out", "metered", "once")]),
        ("args", [("out", "2 0", "once")]),
    ],
)
def test_what_wrappers_return(client: Client, do: str, expected: list[tuple[str, object, str]]) -> None:
    """Lists, views, arrays, and a callback in place of a return; through a decorator that takes anything."""
    assert pairs_of(once(client, "traps", {"in": "x"}, do=do)) == expected


def test_meters_and_traces_are_told(loader: Running, client: Client) -> None:
    """callback_metric and callback_trace: a line of the log each."""
    once(client, "traps", {"in": "x"}, do="meter")
    until(lambda: loader.log_lines("trace"), "the trace")
    [*_, meter], [*_, trace] = loader.log_lines("meter"), loader.log_lines("trace")
    assert (meter["unit"], meter["amount"]) == ("seconds", 2)
    assert (trace["key"], trace["value"]) == ("k", "v")


def test_binary_results(client: Client) -> None:
    """Bytes are not text: audio stays as it is, a kind that is none of the four is bytes."""
    [result] = once(client, "traps", {"in": "x"}, do="binary")
    assert [(one.type, one.data) for one in result.items] == [("audio", b"\xff\x00"), ("bytes", b"\xfe")]


@pytest.mark.parametrize(
    ("do", "message"),
    [
        ("int", ";code=7"),
        ("odd_error_text", "41.5;code=41"),
        ("raising_error_text", "wrapperError raised KeyError;code=42"),
        ("wrong_type", "a float is no result: return a Response;code=-1"),
        ("bad_text", "BadText: (its text could not be made);code=-1"),
        ("exit", "SystemExit: 3;code=-1"),
    ],
)
def test_what_wrappers_fail_with(client: Client, do: str, message: str) -> None:
    """Every way is one error with the documented code, and the engine serves on."""
    assert failure_of(client, "traps", {"in": "x"}, do=do) == (10909, message)


def test_user_code_runs_once_for_each_call(client: Client) -> None:
    """A function without a readable signature is not tried out."""
    [first] = once(client, "traps", {"in": "x"}, do="calls")
    [second] = once(client, "traps", {"in": "x"}, do="calls")
    assert int(second["out"]) == int(first["out"]) + 1


def test_async_mode_takes_exactly_the_first_callback(client: Client) -> None:
    """wrapperOnceExecAsync where async_mode says so and the wrapper has it; its status is ONCE."""
    assert pairs_of(once(client, "traps_async", {"in": "x"}, do="fine")) == [("out", "first", "once")]
    assert failure_of(client, "traps_async", {"in": "x"}, do="async_error") == (10910, "no result;code=100")
    assert failure_of(client, "traps_async", {"in": "x"}, do="refuse") == (10909, "no result;code=100")
    raised = failure_of(client, "traps_async", {"in": "x"}, do="async_raises")
    assert raised == (10909, "RuntimeError: cannot;code=-1")
    # What is called back before the call is refused is not a second answer.
    assert failure_of(client, "traps_async", {"in": "x"}, do="answer_and_refuse")[0] in (10909, 10910)
    assert pairs_of(once(client, "traps_async", {"in": "x"}, do="fine")) == [("out", "first", "once")]


def test_a_callback_before_the_asynchronous_call_returns(client: Client) -> None:
    """A wrapper that knows only wrapperOnceExecAsync, and answers inside it."""
    assert pairs_of(once(client, "async_once", {"in": "x"})) == [("out", "x", "once")]


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("create_raises", (10905, "RuntimeError: cannot;code=-1")),
        ("create_none", (10905, "wrapperCreate returned None where a handle is expected;code=-1")),
        ("create_minus_one", (10905, ";code=-1")),
        ("write_raises", (10907, "KeyError: 'gone';code=-1")),
        ("write_code", (10907, "no result;code=100")),
        ("odd_callbacks", (10910, "TypeError: a float is no result: return a Response;code=-1")),
    ],
)
def test_what_sessions_fail_with(client: Client, do: str, expected: tuple[int, str]) -> None:
    """The code tells the operation; the session ends with it."""
    with (
        pytest.raises(errors.LoaderError) as raised,
        client.session("traps", {"do": do}, timeout_s=LIMIT_S) as session,
    ):
        session.write({"in": Item("x", status="end")})
        session.end()
        list(session)
    assert (raised.value.engine_code, raised.value.engine_message) == expected


def test_end_twice_and_a_destroy_that_raises(client: Client) -> None:
    """The second END is refused; what Destroy raises is nobody's result."""
    with client.session("traps", {"do": "end_twice"}, timeout_s=LIMIT_S) as session:
        session.write({"in": Item("x", status="end")})
        session.end()
        assert pairs_of(list(session)) == [("out", "end", "end")]


@pytest.mark.parametrize(("do", "count"), [("flood", 1000), ("foreign_flood", 2000)])
def test_more_results_than_the_client_has_taken(client: Client, do: str, count: int) -> None:
    """Megabytes by callback inside one wrapperWrite, or from a thread: all arrive, in order, at the client's pace."""
    with client.session("traps", {"do": do}, timeout_s=LIMIT_S) as session:
        session.write({"in": Item("x", status="begin" if do == "flood" else "end")})
        session.end()
        came = [(int(str(value)[:4]), status) for _, value, status in pairs_of(list(session))]
    assert came == [(number, "end" if number == count - 1 else "continue") for number in range(count)]


def test_a_client_that_leaves_gives_its_slot_back(loader: Running, client: Client) -> None:
    """Whatever the wrapper still owes: more sessions than slots, none of which it ever ends."""
    for _ in range(2 * 8):
        with client.session("traps", {"do": "silence"}, timeout_s=LIMIT_S) as session:
            session.write({"in": Item("x", status="end")})
            assert next(session.results())["out"] == "the only one"
            session.cancel()
    until(lambda: loader.instance("traps").slots_used == 0, "the slots are free")


@pytest.fixture
def stock(loader: Running) -> Iterator[Xsf]:
    """A client of AIGES."""
    one = Xsf(loader.ready["grpc"])
    yield one
    one.close()


def test_a_client_of_aiges_calls_once(stock: Xsf) -> None:
    """Its headers' sid and its parameters arrive; errors are the wrapper's."""
    output = stock.once("e3_sdk", [payload("input", b"hi", encoding="utf8")], params={"a": "1"})
    told = json.loads(output.pl[0].data)
    assert told["params"] == {"a": "1", "sid": "ase00010001@hu18c0ffee"}
    assert told["nodes"] == [["input", 2, 0, 3, {"encoding": "utf8", "seq": "0", "status": "3"}]]
    with pytest.raises(ServiceError, match=r"10909: no result\.\.;code=100"):
        stock.once("e3_sdk", [payload("input", b"error 100")])


@pytest.mark.parametrize(
    ("engine", "key"), [("e3_sdk", "input"), ("e2_mixed", "in"), ("e1_read", "data"), ("v1_functions", "in")]
)
def test_a_client_of_aiges_streams(stock: Xsf, engine: str, key: str) -> None:
    """Three slices, results called back or read, until END."""
    came = stock.stream(engine, [Source(key, [b"a", b"b", b"c"])], params={"by": "sid"})
    assert came[-1].meta.attribute["status"] == "2"
    assert len(came) == (9 if engine == "e2_mixed" else 3)


def test_a_killed_process_is_one_error(stock: Xsf, loader: Running) -> None:
    """kill -9 while a client of AIGES has a session: 10109, then the next process serves."""
    session = stock.echoed(stock.create("e3_sdk"))
    os.kill(loader.instance("e3_sdk").pid, signal.SIGKILL)

    def is_told() -> bool:
        code = stock.send("AIOut", session, waitTime="200").output.code
        assert code in (0, 10109)
        return bool(code == 10109)

    until(is_told, "the session's end")
    assert stock.send("AIOut", session).output.code == 10101
    body = xsf.LoaderInput(serviceId="e3_sdk", state=1, pl=[payload("input", b"hi")])
    until(lambda: stock.send("AIIn", None, body, SeqNo="1").output.code == 0, "the next process")


def test_describe_tells_how_it_was_bound(client: Client) -> None:
    """Flavour, era, calls, what it declares, and its schema."""
    said = {one.name: one.declaration["aiges"] for one in client.describe(timeout_s=LIMIT_S)}
    assert [(said[name]["flavour"], said[name]["era"]) for name in NAMES] == [
        ("sdk", "E3"), ("sdk", "E2"), ("sdk", "E1"), ("class", "E0"), ("functions", "v1"), ("class", "E3"),
        ("class", "E3"),
    ]  # fmt: skip
    assert said["e2_mixed"]["calls"]["wrapperCreate"] == "wrapperCreate(params, sid, usrTag, persId)"
    assert said["e3_sdk"]["inputs"] == [{"key": "input", "type": "text"}, {"key": "image", "type": "image"}]
    assert said["e3_sdk"]["parameters"] == [{"name": "lang", "type": "string", "required": False}]
    assert said["e3_sdk"]["schema"]["meta"]["route"] == "/v1/private/e3"
    assert {name: said[name]["session_results"] for name in ("e3_sdk", "e1_read", "e2_mixed", "v1_functions")} == {
        "e3_sdk": "callback", "e1_read": "wrapperRead", "e2_mixed": "callback", "v1_functions": "wrapperRead",
    }  # fmt: skip


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=WRAPPERS, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_check_tells_flavour_and_binding() -> None:
    """`loader check wrapper.py` serves nothing and says how each function would be called."""
    done = run(*command("check", str(WRAPPERS / "e2_mixed.py")))
    assert done.returncode == 0, done.stderr
    assert "an AIGES wrapper: sdk, signatures of E2, results of sessions by callback" in done.stdout
    assert "wrapperCreate(params, sid, usrTag, persId)" in done.stdout


def test_check_names_what_cannot_be_passed(tmp_path: Path) -> None:
    """A parameter that AIGES has nothing for is refused at load, with file and cure."""
    (tmp_path / "wrapper.py").write_text(
        dedent("""
            class Wrapper:
                def wrapperInit(self, config): ...
                def wrapperOnceExec(self, params, reqData, usrTag, persId, colour): ...
        """)
    )
    done = run(*command("check", str(tmp_path / "wrapper.py")))
    assert done.returncode == 3
    assert "wrapperOnceExec asks for `colour`" in done.stderr
    assert "give it a default" in done.stderr


@pytest.mark.parametrize("name", ["e3_sdk.py"])
def test_a_wrapper_tries_itself_without_a_server(name: str) -> None:
    """`python -m loader.compat.aiges wrapper.py` runs its __main__: schema, one call, one session."""
    done = run(sys.executable, "-m", "loader.compat.aiges", str(WRAPPERS / name))
    assert done.returncode == 0, done.stderr
    assert '"serviceId": "e3"' in done.stdout
    assert "result result: 5 bytes, status 2" in done.stdout


def test_an_installed_aiges_is_used_where_that_was_asked_for(tmp_path: Path) -> None:
    """Ours come first; LOADER_AIGES_SDK=installed turns that around, but for aiges_embed."""
    (tmp_path / "site/aiges").mkdir(parents=True)
    (tmp_path / "site/aiges/__init__.py").write_text("IS_INSTALLED = True\n")
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text("""
import os

import aiges
import aiges_embed

assert hasattr(aiges, "IS_INSTALLED") == (os.environ.get("LOADER_AIGES_SDK") == "installed")
assert aiges_embed.callback(None, "nobody") == -1

class Wrapper:
    def wrapperOnceExec(self, params, reqData): ...
""")
    for choice, code in (("ours", 0), ("installed", 0), ("none", 3)):
        environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "LOADER_AIGES_SDK": choice}
        done = run(*command("check", str(wrapper)), environment=environment)
        assert done.returncode == code, done.stderr
    assert "LOADER_AIGES_SDK is 'none': write ours or installed" in done.stderr

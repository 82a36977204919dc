"""Commands of AIGES's plug-in protocol as engines of a running loader: what clients see, also of their failures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import psutil
import pytest
from running import Running, until
from xsf_client import ServiceError, Xsf, payload

from loader import errors
from loader.client import Client, Item, Result

LIMIT_S = 60


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[Client]:
    """Shared by all."""
    with Client(service.ready["grpc"]) as one:
        yield one


def told(client: Client, engine: str, timeout_s: float = LIMIT_S, **params: object) -> dict[str, Any]:
    """What a call was passed, as the child says."""
    [result] = client.exec(engine, {"input": "hi"}, params, timeout_s=timeout_s)
    said: dict[str, Any] = json.loads(bytes(result.items[0].data))
    return said


def failure_of(client: Client, engine: str, **params: object) -> tuple[int, str]:
    with pytest.raises(errors.LoaderError) as raised:
        client.exec(engine, {"input": "hi"}, params, timeout_s=LIMIT_S)
    return raised.value.engine_code, raised.value.engine_message


def session_failure(client: Client, params: Mapping[str, object]) -> tuple[int, str]:
    with (
        pytest.raises(errors.LoaderError) as raised,
        client.session("first", params, timeout_s=LIMIT_S) as session,
    ):
        session.write({"input": Item("a", status="end")})
        session.end()
        list(session)
    return raised.value.engine_code, raised.value.engine_message


def pairs_of(results: list[Result]) -> list[tuple[str, str]]:
    return [(bytes(one.data).decode(), one.status) for result in results for one in result.items]


def ready(service: Running, engine: str) -> Any:
    return until(lambda: service.instance(engine).state == "ready", f"{engine} is ready again")


# ---- what is passed


def test_a_call_over_tcp(client: Client) -> None:
    """Parameters and configuration are texts, sid is always there; input has its kind, status and attributes."""
    item = Item("hi", type="text", attributes={"lang": "en"})
    [result] = client.exec("first", {"input": item}, {"rate": 8, "on": False}, timeout_s=LIMIT_S)
    said = json.loads(bytes(result.items[0].data))
    assert said["params"] == {"rate": "8", "on": "false", "sid": ""}
    assert said["nodes"] == [["input", "hi", 2, 0, 3, {"lang": "en"}]]
    assert said["config"] == {"who": "first", "rate": "16000", "on": "true"}
    [answer] = result.items
    assert (answer.key, answer.type, answer.status, answer.attributes) == (
        "result",
        "text",
        "once",
        {"lang": "en"},
    )


def test_the_kind_of_a_result(client: Client) -> None:
    """The number of AIGES is the type of the item."""
    [result] = client.exec("unix", {"input": "hi"}, {"type": 1}, timeout_s=LIMIT_S)
    assert result.items[0].type == "audio"


def test_a_command_of_a_shell_on_a_socket(client: Client) -> None:
    """As AIGES's pythonPluginCmd; the address is the handshake's."""
    assert told(client, "unix")["params"] == {"sid": ""}


def test_what_a_plug_in_of_go_plugin_prints(service: Running, client: Client) -> None:
    """Its library passes it on by an RPC, and holds up who prints until it is read."""
    assert told(client, "unix", mode="print")
    until(lambda: any(one["line"] == "said 99" for one in service.log_lines("engine output")), "in the log")


def test_commands_that_share_a_port_answer_for_themselves(client: Client) -> None:
    """As two of `aiges.serve`, which always bind the same one: each engine is connected to its own command."""
    assert [told(client, name)["config"]["who"] for name in ("first", "second", "first")] == [
        "first",
        "second",
        "first",
    ]


def test_what_the_command_declares(client: Client) -> None:
    """wrapperSchema is the member `aiges` of the description; a command without one is served, too."""
    [first], [second], [odd] = (client.describe(name) for name in ("first", "second", "unix"))
    said = first.declaration["aiges"]
    assert (said["flavour"], said["service_id"], said["version"]) == ("command", "child", "v7")
    assert said["inputs"] == [{"key": "input", "type": "text"}]
    assert said["outputs"] == [{"key": "result", "type": "audio"}]
    assert said["parameters"] == [{"name": "rate", "type": "integer", "required": True}]
    assert said["schema"]["meta"]["serviceId"] == "child"
    assert "schema" not in second.declaration["aiges"]
    # What Python writes as JSON and others refuse.
    assert odd.declaration["aiges"]["schema"] == {"minimum": None, "maximum": None, "title": "?"}


def test_a_client_of_aiges(service: Running) -> None:
    """It sees the codes that it knows."""
    xsf = Xsf(service.ready["grpc"])
    try:
        assert xsf.once("first", [payload("input", b"hi")]).code == 0
        with pytest.raises(ServiceError) as raised:
            xsf.once("first", [payload("input", b"hi")], params={"mode": "nothing"})
    finally:
        xsf.close()
    assert raised.value.output.code == 10909
    assert raised.value.output.err.endswith("see the engine's output;code=30003")


# ---- errors


@pytest.mark.parametrize(
    ("mode", "status", "text"),
    [
        ("raise", 10909, "UNKNOWN: Exception calling application: odd;code=-1"),
        (
            "nothing",
            10909,
            "wrapperOnceExec raised an exception or returned no result: see the engine's output;code=30003",
        ),
        ("dropped code", 10910, "the callback has no result;code=-1"),
        ("stream code", 10910, "the result says that it failed;code=21111"),
    ],
)
def test_a_failed_call_is_an_error_at_once(client: Client, mode: str, status: int, text: str) -> None:
    """Also what AIGES does not look at and lets its client wait for."""
    assert failure_of(client, "first", mode=mode) == (status, text)
    assert told(client, "first")


def test_a_result_in_the_reply(client: Client) -> None:
    """Where `aiges.serve` has none; a command of somebody's own may."""
    [result] = client.exec("first", {"input": "hi"}, {"mode": "in the reply"}, timeout_s=LIMIT_S)
    assert pairs_of([result]) == [("here", "once")]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("refuse", (10905, "wrapperCreate says that it failed;code=21112")),
        ("raise", (10905, "UNKNOWN: Exception calling application: no userTag;code=-1")),
        ("ret", (10907, "wrapperWrite says that it failed;code=21113")),
    ],
)
def test_a_failed_session_is_told(client: Client, mode: str, expected: tuple[int, str]) -> None:
    """err_code of wrapperCreate and ret of wrapperWrite, which AIGES does not look at."""
    assert session_failure(client, {"mode": mode}) == expected
    assert told(client, "first")


# ---- sessions


@pytest.mark.parametrize("mode", ["", "by sid", "by tag"])
def test_a_session(client: Client, mode: str) -> None:
    """Results come while no further input does, by handle, sid or usrTag; END ends it; it is destroyed once."""
    params = {"mode": mode, "sid": f"S {mode}", "handle": f"H {mode}"}
    with client.session("first", params, timeout_s=LIMIT_S) as session:
        results = session.results()
        session.write({"input": "a"})
        assert pairs_of([next(results)]) == [("A", "begin")]
        session.write({"input": "b"})
        assert pairs_of([next(results)]) == [("B", "continue")]
        session.write({"input": Item("c", status="end")})
        session.end()
        assert pairs_of(list(results)) == [("C", "end")]
    until(lambda: told(client, "first")["destroyed"].count(f"H {mode}") == 1, "wrapperDestroy")


def test_a_result_before_create_has_returned(client: Client) -> None:
    """It waits for the handle."""
    with client.session("first", {"mode": "early"}, timeout_s=LIMIT_S) as session:
        assert pairs_of([next(session.results())]) == [("early", "continue")]


def test_sessions_side_by_side(client: Client) -> None:
    """Results of one stream in another order than their sessions' input: each reaches its own client."""
    held = {"mode": "held", "gate": "late"}
    with (
        client.session("first", held, timeout_s=LIMIT_S) as first,
        client.session("first", timeout_s=LIMIT_S) as second,
    ):
        first.write({"input": Item("one", status="end")})
        second.write({"input": Item("two", status="end")})
        first.end()
        second.end()
        assert pairs_of(list(second)) == [("TWO", "end")]
        told(client, "first", mode="open", gate="late")
        assert pairs_of(list(first)) == [("ONE", "end")]


def test_a_handle_that_is_taken_is_refused(client: Client) -> None:
    """Whose results would they be? The session that has it goes on."""
    with client.session("first", {"handle": "same"}, timeout_s=LIMIT_S) as session:
        text = "wrapperCreate returned the handle 'same' of another open session;code=-1"
        assert session_failure(client, {"handle": "same"}) == (10905, text)
        session.write({"input": Item("a", status="end")})
        session.end()
        assert pairs_of(list(session)) == [("A", "end")]


def test_a_client_that_does_not_read_holds_up_nobody(client: Client) -> None:
    """The one stream goes on: what a slow client has not taken waits in the host."""
    many = {"mode": "many", "count": 3000, "gate": "3000"}
    with client.session("first", many, timeout_s=LIMIT_S) as slow:
        slow.write({"input": "a"})
        # Less than a thread of a wrapper would be held up.
        assert told(client, "first", timeout_s=13, mode="wait", gate="3000")  # behind 9 MB
        results = slow.results()
        texts = [bytes(next(results).items[0].data) for _ in range(3000)]
        assert texts == [str(number).encode() * 1000 for number in range(3000)]
        slow.cancel()


def test_a_client_that_never_reads_loses_its_session(client: Client) -> None:
    """What waits for it has a bound; it gets what was sent before, and the reason."""
    many = {"mode": "many", "count": 14_000, "gate": "14000"}
    with client.session("first", many, timeout_s=LIMIT_S) as slow:
        slow.write({"input": "a"})
        assert told(client, "first", mode="wait", gate="14000")
        slow.end()
        with pytest.raises(errors.LoaderError) as raised:
            list(slow.results())
    assert raised.value.engine_code == 10910
    assert raised.value.engine_message == "the client does not read its results;code=-1"


# ---- the command fails


def lost_session(client: Client, engine: str, mode: str) -> list[str]:
    """Two open sessions, of which the second writes what ends the command: the error of each."""
    texts = []
    with (
        client.session(engine, timeout_s=LIMIT_S) as idle,
        client.session(engine, {"mode": mode}, timeout_s=LIMIT_S) as one,
    ):
        one.write({"input": "a"})
        for session in (one, idle):
            with pytest.raises(errors.LoaderError) as raised:
                list(session.results())
            texts.append(str(raised.value))
    return texts


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("die", "it ended: exit code 0"), ("end the stream", "it ended the stream of its results")],
)
def test_a_lost_command_ends_its_sessions_and_is_started_again(
    service: Running, client: Client, mode: str, reason: str
) -> None:
    """One error each; the instance says why; the next session is served."""
    restarts = service.instance("second").restarts
    own, _ = lost_session(client, "second", mode)
    if mode == "die":
        assert reason in own
    until(lambda: service.instance("second").restarts > restarts, "a restart")
    ended = [one["how"] for one in service.log_lines("host ended")]
    assert any(f"exit code 4: the command serves no more: {reason}" in how for how in ended)
    ready(service, "second")
    assert told(client, "second")["config"]["who"] == "second"


def test_a_call_whose_command_is_killed_says_so(service: Running, client: Client) -> None:
    """With the signal and what it printed last; a call that waits for its result gets the reason, too."""
    status, text = failure_of(client, "second", mode="die")
    assert status == 10909
    assert text.startswith("it ended: killed by SIGKILL; it printed: ")
    assert "out of memory" in text
    ready(service, "second")


def test_no_orphan_after_sigkill_of_a_host(service: Running) -> None:
    """The loader ends its group: also what the command started itself."""
    family = psutil.Process(service.instance("unix").pid).children(recursive=True)
    assert len(family) == 3
    psutil.Process(service.instance("unix").pid).kill()
    _, alive = psutil.wait_procs(family, timeout=LIMIT_S)
    assert not alive


@pytest.mark.parametrize("mode", ["hang", "forget"])
def test_a_call_that_hangs_ends(service: Running, client: Client, mode: str) -> None:
    """call_timeout_ms bounds it, also where only its result is missing; the command is ended and started again."""
    process = psutil.Process(service.instance("brief").pid)
    [child] = process.children()
    with pytest.raises(errors.LoaderError):
        client.exec("brief", {"input": "hi"}, {"mode": mode}, timeout_s=LIMIT_S)
    psutil.wait_procs([child], timeout=LIMIT_S)
    assert not child.is_running()
    ready(service, "brief")
    assert told(client, "brief")


def test_a_command_that_says_it_cannot_serve_is_started_again(service: Running, client: Client) -> None:
    """go-plugin's health service is asked while nothing runs there."""
    restarts = service.instance("brief").restarts
    assert told(client, "brief", mode="unhealthy")
    until(lambda: service.instance("brief").restarts > restarts, "a restart")
    reasons = [one["reason"] for one in service.log_lines("instance unhealthy")]
    assert reasons == ["the command: its health check says 2, and 1 is serving"]
    ready(service, "brief")


def test_a_command_in_whose_place_another_answers(service: Running) -> None:
    """Its handshake names a port that it does not listen on: it is refused, and the other one named."""
    instance = until(
        lambda: (one := service.instance("thief")).state == "failed" and one, "thief is given up"
    )
    assert "answers in its place" in instance.error
    assert "process " in instance.error

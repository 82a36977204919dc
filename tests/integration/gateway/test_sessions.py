"""WebSockets: a session from its first frame to its last, and everything that may end it."""

from __future__ import annotations

import asyncio
import json
import socket
from threading import Thread

import psutil
import pytest
from running import Running, until
from web_client import TIMEOUT_S, Web, b64, summary_of
from websockets.asyncio.client import connect as async_connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from loader.v1 import admin_pb2


def reason(web: Web, name: str) -> str:
    """Why the session or call of that name ended."""
    return str(web.do("actor", mode="reason", name=name).json["payload"]["text"]["text"])


# ---- transcripts


def test_a_session_frame_by_frame(web: Web) -> None:
    """An acknowledgement without payload, then results with seq and status, in base64; END closes."""
    with web.open("sdk") as talk:
        talk.write("one", 0, key="input", header={"sid": "s", "cid": "c"})
        header = {"code": 0, "message": "success", "sid": "s", "status": 0, "cid": "c"}
        assert talk.hear() == {"header": header}
        first = {"seq": "1", "status": "0", "text": b64("ONE")}
        assert talk.hear() == {"header": header, "payload": {"result": first}}
        talk.write("two", 2, key="input")
        last = {"seq": "2", "status": "2", "text": b64("TWO")}
        assert talk.rest() == [{"header": header | {"status": 2}, "payload": {"result": last}}]
        assert talk.connection.close_code == 1000


def test_an_engine_without_statuses_ends_with_a_frame_of_its_own(web: Web) -> None:
    """Its results leave at once, and that the last one was the last is known only later."""
    with web.open("actor") as talk:
        talk.write("a")
        talk.write("b", 2)
        assert talk.summary() == [(0, 0, {}), (0, 1, {"text": "A"}), (0, 1, {"text": "B"}), (0, 2, {})]


def test_once_ends_a_session_as_end_does(web: Web) -> None:
    """It is told as END."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"mode": "once"}})
        assert talk.summary() == [(0, 0, {}), (0, 2, {"text": "all"})]


@pytest.mark.parametrize("engine", ["echo", "library"])
def test_native_engines_have_sessions_too(web: Web, engine: str) -> None:
    """One of ours, and a library of AIGES, which has none over HTTP there."""
    with web.open(engine) as talk:
        talk.write("a", 0)
        talk.write("b", 3)
        assert talk.summary() == [(0, 0, {}), (0, 0, {"text": "a"}), (0, 2, {"text": "b"})]


def test_json_is_embedded(web: Web) -> None:
    """Where the format says so and it is JSON; and what an engine gives as JSON."""
    with web.open("actor") as talk:
        talk.write("x", 2, parameter={"p": {"mode": "json"}})
        assert summary_of(talk.hear()) == (0, 0, {})
        payload = talk.hear()["payload"]
        assert payload["text"] == {"format": "json", "seq": "1", "status": "1", "text": {"a": [1]}}
        assert payload["broken"]["text"] == b64("{")
        assert payload["own"]["text"] == {"b": 2}


def test_a_key_that_comes_twice_is_two_frames(web: Web) -> None:
    """In order, numbered."""
    with web.open("actor") as talk:
        talk.write("x", 2, parameter={"p": {"mode": "twice"}})
        frames = talk.rest()
        assert [one["payload"]["text"]["seq"] for one in frames[1:3]] == ["1", "2"]


def test_what_the_first_frame_says_holds_for_the_session(web: Web) -> None:
    """Parameters, the sid, headers; later frames carry payload."""
    with web.open("actor") as talk:
        talk.say(header={"sid": "s-9", "appid": "a"}, parameter={"p": {"mode": "tell"}})
        assert summary_of(talk.hear()) == (0, 0, {})
        talk.say({"audio": {"audio": b64(b"\x01"), "status": 0, "seq": 7}}, header={"sid": "s-9"})
        told = json.loads(summary_of(talk.hear())[2]["text"])
        assert told["items"] == [["audio", "audio", "begin", {"seq": "7", "status": "0"}, "01"]]
        assert told["parameters"] == {"mode": "tell", "sid": "s-9", "appid": "a"}
        talk.say(header={"status": 2})
        assert talk.summary() == [(0, 2, {})]


def test_the_header_says_the_status_of_data_that_says_none(web: Web) -> None:
    """As clients of the production edge do."""
    with web.open("actor") as talk:
        talk.say({"text": {"text": b64("a")}}, header={"status": 0})
        talk.say({"text": {"text": b64("b")}}, header={"status": 2})
        assert talk.summary()[1:] == [(0, 1, {"text": "A"}), (0, 1, {"text": "B"}), (0, 2, {})]


def test_the_input_ends_when_every_stream_has(web: Web) -> None:
    """Of two, the first end is none."""
    with web.open("actor") as talk:
        talk.say({"text": {"text": b64("a"), "status": 2}, "more": {"text": b64("m"), "status": 1}})
        assert [summary_of(talk.hear())[2] for _ in range(2)] == [{}, {"text": "A"}]
        talk.say({"text": {"text": b64("c"), "status": 2}, "more": {"text": b64("n"), "status": 2}})
        assert talk.summary() == [(0, 1, {"text": "C"}), (0, 2, {})]


def test_a_result_comes_while_no_frame_does(web: Web) -> None:
    """The moment that the engine emits it."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"mode": "late", "name": "w1"}})
        assert summary_of(talk.hear()) == (0, 0, {})
        web.do("actor", mode="open", name="w1")
        assert talk.summary() == [(0, 2, {"text": "late"})]
    assert reason(web, "w1") == "finished"


# ---- errors


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("refuse", (10905, "no room;code=4711")),
        ("fail", (10907, "boom;code=21111")),
        ("die", (10109, "")),
    ],
)
def test_what_goes_wrong_in_the_engine_is_seen(web: Web, mode: str, expected: tuple[int, str]) -> None:
    """AIGES tells clients of WebSockets nothing of it."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"mode": mode}}, header={"sid": "s", "cid": "c"})
        *_, last = talk.rest()
        code, text = expected
        assert {"code": code, "sid": "s", "status": 2, "cid": "c"}.items() <= last["header"].items()
        assert text in last["header"]["message"]
    until(lambda: web.do("actor").code == 0, "the engine is there")


@pytest.mark.parametrize(
    ("frame", "code", "text"),
    [
        ("{", 10160, "not JSON"),
        ('{"payload": {"a": {"text": "hello"}}}', 10161, 'payload.a.text is "hello"'),
        ('{"payload": {"a": 3}}', 10163, "payload.a is 3"),
    ],
)
def test_a_frame_that_cannot_be_read_says_key_and_value(web: Web, frame: str, code: int, text: str) -> None:
    """It ends the session, at any time."""
    for is_first in (True, False):
        with web.open("actor") as talk:
            if not is_first:
                talk.write("x", parameter={"p": {"name": f"bad-{code}"}})
                assert [summary_of(talk.hear())[1] for _ in range(2)] == [0, 1]
            talk.connection.send(frame)
            (last,) = talk.rest()
            assert last["header"]["code"] == code
            assert text in last["header"]["message"]
    assert reason(web, f"bad-{code}") == "client_cancel"


def test_a_session_without_a_slot_is_refused(service: Running, web: Web) -> None:
    """10110, as a frame."""
    session = service.open_session("brief")
    with web.open("brief") as talk:
        talk.write("x")
        (only,) = talk.rest()
        assert only["header"]["code"] == 10110
    session.call.cancel()


def test_an_operator_may_close_it(service: Running, web: Web) -> None:
    """10019, with why."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"name": "kicked"}})
        assert [summary_of(talk.hear())[1] for _ in range(2)] == [0, 1]

        def opened() -> list[admin_pb2.SessionStatus]:
            asked = admin_pb2.ListSessionsRequest(engine="actor")
            listed = service.admin.ListSessions(asked, timeout=20).sessions
            return [one for one in listed if one.state == "open"]

        until(lambda: len(opened()) == 1, "those of earlier tests are over")
        (mine,) = opened()
        kill = admin_pb2.KillSessionRequest(session_id=mine.session_id, message="enough of it")
        service.admin.KillSession(kill, timeout=20)
        (last,) = talk.rest()
        assert last["header"]["code"] == 10019


def test_an_unknown_path_is_no_web_socket(web: Web) -> None:
    """404 instead of an upgrade."""
    with pytest.raises(InvalidStatus) as raised, web.open("nobody"):
        pass
    assert raised.value.response.status_code == 404


def test_a_result_that_was_not_expected_ends_the_session(web: Web) -> None:
    """As of a call."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"other": {"data_type": "text"}}})
        *_, last = talk.rest()
        assert (last["header"]["code"], last["header"]["message"]) == (10106, "wrapper output data is nil ")


def test_what_is_wrong_with_a_client_is_a_line_of_our_log_at_most(service: Running, web: Web) -> None:
    """In its form, and by its queue: what others write to standard error at once would wait for who reads it."""
    host, _, port = web.address.rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as client:
        client.sendall(b"no request\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400")
    with web.open("actor") as talk:
        talk.connection.socket.sendall(b"\x81\x81" + bytes(4) + b"\xff")
        with pytest.raises(ConnectionClosedError, match="1007"):
            talk.hear()
    until(lambda: service.log_lines("Invalid UTF-8 sequence received from client."), "it is told")
    strange = [line for line in service.log_text().splitlines() if not line.startswith("{")]
    assert strange == []


def test_a_frame_over_the_limit_ends_the_session(web: Web) -> None:
    """By the WebSocket's own code."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"name": "large"}})
        assert [summary_of(talk.hear())[1] for _ in range(2)] == [0, 1]
        talk.write("x" * 200_000)
        with pytest.raises(Exception, match="1009"):
            talk.connection.recv(20)
    assert reason(web, "large") == "client_cancel"


# ---- clients that vanish, and clients that are slow


def test_a_client_that_vanishes_cancels_its_session(web: Web) -> None:
    """At once."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"name": "v1"}})
        assert [summary_of(talk.hear())[1] for _ in range(2)] == [0, 1]
        talk.vanish()
        assert reason(web, "v1") == "client_cancel"


def test_that_it_vanished_is_seen_while_the_engine_is_behind(web: Web) -> None:
    """Input that nobody takes lies between; the engine's call is told to end."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"mode": "stuck", "name": "v2"}})
        web.do("actor", mode="started", name="v2")
        for _ in range(6):
            talk.write("y" * 100_000)
        talk.vanish()
        assert reason(web, "v2") == "client_cancel"


def test_an_engine_that_is_behind_holds_up_its_own_client_only(service: Running, web: Web) -> None:
    """30 MB for an engine that takes nothing: the client has to wait, and nothing of it is lost."""
    with web.open("actor") as talk:
        talk.write("x", parameter={"p": {"mode": "stuck", "name": "behind"}})
        assert summary_of(talk.hear()) == (0, 0, {})
        before = psutil.Process(service.process.pid).memory_info().rss

        def send_all() -> None:
            for _ in range(300):
                talk.write("y" * 75_000)
            talk.write("last", 2)

        sending = Thread(target=send_all)
        sending.start()
        for number in range(50):
            assert web.do("actor", n=number).code == 0
        assert sending.is_alive()
        assert psutil.Process(service.process.pid).memory_info().rss - before < 20 << 20
        web.do("actor", mode="release", name="behind")
        sending.join(40)
        assert talk.summary() == [(0, 2, {})]


async def talk_of(url: str, number: int, vanishes: bool) -> None:
    """Thirty frames and their echoes, or until the client is gone."""
    async with async_connect(url, proxy=None, open_timeout=TIMEOUT_S) as socket:
        for index in range(30):
            status = 2 if index == 29 else 1
            data = {"text": b64(f"{number}-{index}"), "status": status}
            await socket.send(json.dumps({"payload": {"text": data}}))
            if vanishes and index == number % 30:
                socket.transport.abort()
                return
        frames = [json.loads(one) async for one in socket]
    texts = [summary_of(one)[2]["text"] for one in frames if "payload" in one]
    assert texts == [f"{number}-{index}" for index in range(30)]


def test_a_crowd_loses_nothing_and_leaves_nothing(service: Running, web: Web) -> None:
    """Of sixty clients at a time a third vanishes; the others get all, and descriptors are as many as before."""
    url = f"ws://{web.address}/v1/private/echo"
    assert web.do("echo").code == 0
    process = psutil.Process(service.process.pid)
    before = process.num_fds()

    async def crowd() -> None:
        await asyncio.gather(*(talk_of(url, number, number % 3 == 0) for number in range(60)))

    asyncio.run(crowd())
    until(lambda: process.num_fds() <= before, "their connections are closed")
    asked = admin_pb2.ListSessionsRequest(engine="echo")
    until(lambda: not service.admin.ListSessions(asked, timeout=20).sessions, "their sessions are over")


def test_a_slow_reader_holds_up_its_own_session_only(web: Web) -> None:
    """Its engine stops, whatever there is to emit; others go on, and nothing is lost."""
    count, size = 2000, 20_000
    with web.open("actor", max_queue=1) as slow:
        payload = {
            key: {"text": b64(str(value)), "status": 2} for key, value in (("count", count), ("size", size))
        }
        slow.say(payload, parameter={"p": {"mode": "many", "name": "slow"}})
        with web.open("actor") as quick:
            for number in range(20):
                quick.write(str(number))
            quick.write("end", 2)
            assert len(quick.rest()) == 23
        emitted = int(web.do("actor", mode="emitted", name="slow").json["payload"]["text"]["text"])
        assert emitted < count
        frames = slow.rest()
    texts = [summary_of(one)[2]["text"] for one in frames[1:-1]]
    assert [int(text.strip()) for text in texts] == list(range(count))

"""What AIGES clients do, call by call, and what each call is answered: the sequences of the stock load tester."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import grpc
import pytest
import xsf_protos as xsf
from running import Running
from xsf_client import (
    AUDIO,
    BEGIN,
    CONTINUE,
    END,
    ONCE,
    ONCE_STATE,
    STREAM_STATE,
    TEXT,
    Answer,
    Source,
    Xsf,
    address_in,
    expect,
    payload,
)

from loader.client import Client
from loader.errors import LoaderError


def attributes(came: object) -> dict[str, str]:
    return dict(came.meta.attribute)  # type: ignore[attr-defined]


# ---- once


def test_a_one_shot_call_is_answered_in_one_reply(client: Xsf) -> None:
    """Payloads come back with the attributes expected, seq 0 and status ONCE."""
    given = [payload("in", b"hello", encoding="utf8", lang="en")]
    output = client.once("echo", given, expect=[expect("in", encoding="raw")], params={"a": "1"})
    assert (output.serviceId, output.code, output.status) == ("echo", 0, ONCE)
    assert [bytes(one.data) for one in output.pl] == [b"hello"]
    assert output.pl[0].meta.dataType == TEXT
    assert attributes(output.pl[0]) == {"encoding": "raw", "lang": "en", "seq": "0", "status": "3"}


def test_the_handle_of_an_answer_is_an_address_to_dial(client: Xsf, service: Running) -> None:
    """26 characters: version, IPv4 and port of the loader, a counter and a time; no two are the same."""
    answers = [client.send("ping") for _ in range(50)]
    handles = {answer.handle for answer in answers}
    assert len(handles) == 50
    assert {address_in(handle) for handle in handles} == {service.ready["grpc"]}
    assert all(handle[0] == "0" and len(handle) == 26 for handle in handles)
    assert answers[0].response.s.sess == {"PeerAddr": service.ready["grpc"]}


def field(number: int, data: bytes) -> bytes:
    """A protobuf field of bytes; everything here is shorter than 128."""
    return bytes([number << 3 | 2, len(data)]) + data


def pair(number: int, key: bytes, value: bytes) -> bytes:
    return field(number, field(1, key) + field(2, value))


def test_requests_and_answers_byte_by_byte(client: Xsf, service: Running) -> None:
    """Written out by hand, so that no two mistakes of one encoder cancel each other."""
    meta = field(1, b"in") + b"\x10\x04" + pair(3, b"k", b"v")
    body = (
        field(1, b"echo")
        + b"\x18\x01"  # state ONCE
        + pair(4, b"sid", b"s")
        + field(6, field(1, b"in") + b"\x10\x04")
        + field(7, field(1, meta) + field(2, b"\xff\x00"))
    )
    request = (
        field(1, b"AIIn") + field(2, field(1, b"t1")) + pair(3, b"SeqNo", b"1") + field(4, field(1, body))
    )
    answer = client.raw(request)
    handle = xsf.ResData.FromString(answer).s.h.encode()
    assert len(handle) == 26
    session = field(1, b"t1") + field(2, handle) + pair(3, b"PeerAddr", service.ready["grpc"].encode())
    meta += pair(3, b"seq", b"0") + pair(3, b"status", b"3")
    output = field(1, b"echo") + b"\x20\x03" + field(5, field(1, meta) + field(2, b"\xff\x00"))
    assert answer == field(3, session) + field(5, field(1, output))
    unknown = client.raw(field(1, b"AIOut") + field(2, field(2, b"nobody")))
    session = field(2, b"nobody") + pair(3, b"PeerAddr", service.ready["grpc"].encode())
    text = b"invalid handle: no session has it"
    output = b"\x10\x98\x4e" + field(3, text) + b"\x20\x02"  # 10008, END
    assert unknown == field(3, session) + field(5, field(1, output))


@pytest.mark.parametrize("engine", ["echo", "library"])
def test_what_was_sent_binary_comes_back_binary(client: Xsf, engine: str) -> None:
    """Text in any encoding and audio are bytes to the loader."""
    gb2312 = "中文".encode("gb2312")
    output = client.once(engine, [payload("t", gb2312), payload("a", bytes(range(256)), AUDIO)])
    assert [(one.meta.name, one.meta.dataType, bytes(one.data)) for one in output.pl] == [
        ("t", TEXT, gb2312),
        ("a", AUDIO, bytes(range(256))),
    ]


def test_a_large_payload_travels_whole(client: Xsf) -> None:
    """What is larger than a record between loader and engine arrives unchanged."""
    data = bytes(range(256)) * 12_000
    assert bytes(client.once("echo", [payload("a", data, AUDIO)]).pl[0].data) == data


# ---- stream


ECHOES = pytest.mark.parametrize("engine", ["echo", "library"])


@ECHOES
def test_a_stream_is_created_fed_polled_and_closed(client: Xsf, engine: str) -> None:
    """Mode 1: create without payload, packages numbered from 1, polls until END, a final AIExcp."""
    source = Source("in", [b"a", b"b", b"c"], describe={"encoding": "utf8"})
    came = client.stream(engine, [source], expect=[expect("in")])
    assert [bytes(one.data) for one in came] == [b"a", b"b", b"c"]
    assert [(attributes(one)["seq"], attributes(one)["status"]) for one in came] == [
        ("1", "1"),
        ("2", "1"),
        ("3", "2"),
    ]
    assert client.transcript[0] == ("AIIn", 0, BEGIN, [])
    assert client.transcript[-1][:2] == ("AIExcp", 10101)


@pytest.mark.parametrize("mode", ["one channel", "a connection for each call"])
def test_a_session_belongs_to_no_connection(client: Xsf, nomad: Xsf, mode: str) -> None:
    """Any connection, on any shard, reaches the session by its handle."""
    who = client if mode == "one channel" else nomad
    for _ in range(5):
        came = who.stream("stage", [Source("in", [b"a", b"b", b"c", b"d"])])
        assert [bytes(one.data) for one in came] == [b"A", b"B", b"C", b"D"]


def test_the_last_result_of_an_engine_without_statuses_is_the_end(client: Xsf) -> None:
    """Clients poll until END: an engine that knows no statuses gives them one."""
    client.stream("stage", [Source("in", [b"a"])])
    assert [entry[2] for entry in client.transcript].count(END) == 2  # the last answer, and that of AIExcp


@ECHOES
def test_streams_share_packages(client: Xsf, engine: str) -> None:
    """Several streams in one package are several nodes of one frame, numbered by key."""
    came = client.stream(engine, [Source("a", [b"1", b"2"]), Source("b", [b"x", b"y"], AUDIO)])
    assert [(one.meta.name, bytes(one.data), attributes(one)["seq"]) for one in came] == [
        ("a", b"1", "1"),
        ("b", b"x", "1"),
        ("a", b"2", "2"),
        ("b", b"y", "2"),
    ]


def test_lines_of_text(client: Xsf) -> None:
    """Mode 2."""
    came = client.lines("stage", "in", ["one", "two", "three"])
    assert [bytes(one.data) for one in came] == [b"ONE", b"TWO", b"THREE"]


@ECHOES
def test_files_with_running_sequence_numbers(client: Xsf, engine: str) -> None:
    """Mode 3: SeqNo goes on counting, which means nothing."""
    came = client.files(engine, "in", [b"\0" * 1000, b"\1" * 1000])
    assert [bytes(one.data)[:1] for one in came] == [b"\0", b"\1"]


def test_results_are_fetched_one_package_a_call(client: Xsf) -> None:
    """The engine may be far ahead: its results wait, and END comes with the last."""
    session = client.echoed(client.create("stage", params={"mode": "many", "name": "5"}))
    body = xsf.LoaderInput(state=STREAM_STATE, sync_id=1, pl=[payload("in", b"x", status="2")])
    client.call("AIIn", session, body)
    texts, statuses = [], []
    while not statuses or statuses[-1] != END:
        answer = client.call("AIOut", session)
        texts += answer.texts
        statuses.append(answer.output.status)
    assert texts == ["0", "1", "2", "3", "4"]


def test_an_engine_far_ahead_of_its_client_loses_nothing(client: Xsf) -> None:
    """More results than the session's window: the engine waits for the client, and the input with it."""
    count = 2000
    session = client.echoed(client.create("stage", params={"mode": "many", "name": str(count)}))
    body = xsf.LoaderInput(state=STREAM_STATE, sync_id=1, pl=[payload("in", b"x", status="2")])
    client.call("AIIn", session, body)
    texts: list[str] = []
    while True:
        answer = client.call("AIOut", session)
        texts += answer.texts
        if answer.output.status == END:
            break
    assert texts == [str(i) for i in range(count)]


# ---- waiting


def test_a_poll_is_answered_the_moment_there_is_a_result(client: Xsf) -> None:
    """No frame arrives meanwhile: the poll was waiting, and its answer is the result."""
    patient = {"waitTime": "20000"}
    session = client.echoed(client.create("stage", params={"mode": "late", "name": "g1"}))
    body = xsf.LoaderInput(state=STREAM_STATE, sync_id=1, pl=[payload("in", b"x", status="1")])
    assert client.call("AIIn", session, body).summary == (0, BEGIN, [])
    poll = client.begin("AIOut", session, **patient)
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "g1"})
    assert client.answer_of("AIOut", poll).summary == (0, CONTINUE, ["late"])
    client.call("AIExcp", session)


def test_a_poll_is_answered_the_moment_the_engine_fails(client: Xsf) -> None:
    """No call into the engine runs: the results before it, then the error, to polls that were waiting."""
    session = client.echoed(client.create("stage", params={"mode": "lose", "name": "g5"}))
    body = xsf.LoaderInput(state=STREAM_STATE, sync_id=1, pl=[payload("in", b"x", status="1")])
    assert client.call("AIIn", session, body).summary == (0, BEGIN, [])
    polls = [client.begin("AIOut", session, waitTime="600000") for _ in range(2)]
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "g5"})
    answers = sorted((client.answer_of("AIOut", poll) for poll in polls), key=lambda one: one.output.code)
    assert [one.summary for one in answers] == [(0, CONTINUE, ["last"]), (10907, END, [])]
    assert answers[1].output.err == "lost;code=4711"
    assert client.call("AIOut", session).output.code == 10101


def test_a_session_of_ours_hears_of_it_too(service: Running, client: Xsf) -> None:
    """loader.v1: the results before it, then the error, while the client only listens."""
    params = {"mode": "lose", "name": "g6"}
    with Client(service.ready["grpc"]) as ours, ours.session("stage", params, timeout_s=20) as session:
        session.write({"in": "x"})
        client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "g6"})
        results = session.results()
        assert next(results)["text"] == "last"
        with pytest.raises(LoaderError) as raised:
            next(results)
    assert (raised.value.engine_code, raised.value.engine_message) == (4711, "lost")


def test_a_poll_without_result_is_answered_before_the_client_gives_up(client: Xsf) -> None:
    """Code 0, no status, no payload; the client's own deadline is the wait and 50 ms, as the load tester's."""
    session = client.echoed(client.create("stage"))
    client.loss_ms = 50
    for wait_ms in ("100", "0"):
        answer = in_time(lambda wait_ms=wait_ms: client.call("AIOut", session, waitTime=wait_ms))
        assert answer.summary == (0, BEGIN, [])
    client.loss_ms = 20_000
    client.call("AIExcp", session)


def in_time(call: Callable[[], Answer]) -> Answer:
    """The answer that came before the client's deadline. Where the machine stood still there is none: asks again."""
    for _ in range(20):
        with suppress(grpc.RpcError):
            return call()
    raise AssertionError("no answer came before the client's deadline")


def test_a_package_of_a_stream_is_answered_at_once(client: Xsf) -> None:
    """AIIn never waits for a result, whatever its waitTime."""
    session = client.echoed(client.create("stage", params={"mode": "wait", "name": "g2"}))
    body = xsf.LoaderInput(state=STREAM_STATE, sync_id=1, pl=[payload("in", b"x", status="1")])
    # The engine is stuck in this package: an answer that waited for it would not come.
    assert client.call("AIIn", session, body, waitTime="60000").summary == (0, BEGIN, [])
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "g2"})
    assert client.call("AIOut", session).texts == ["X"]
    client.call("AIExcp", session)


def test_a_one_shot_call_ends_with_its_wait(client: Xsf) -> None:
    """10102 after waitTime, before the client's deadline; the slot comes back with the engine's call."""
    params = {"mode": "wait", "name": "g3"}
    body = xsf.LoaderInput(serviceId="stage", state=ONCE_STATE, params=params, pl=[payload("in", b"x")])
    client.loss_ms = 50
    answer = in_time(lambda: client.call("AIIn", None, body, SeqNo="1", waitTime="200"))
    client.loss_ms = 20_000
    assert (answer.output.code, answer.output.status) == (10102, END)
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "g3"})


# ---- order


@ECHOES
def test_packages_are_taken_in_the_order_of_sync_id(nomad: Xsf, engine: str) -> None:
    """Late ones wait, old ones are dropped without a word, empty ones count."""
    session = nomad.echoed(nomad.create(engine))
    for sync_id, data in ((3, b"c"), (2, b""), (3, b"again"), (1, b"a"), (1, b"old"), (5, b"e"), (4, b"d")):
        pl = [payload("in", data, status="2" if sync_id == 5 else "1")] if data else []
        body = xsf.LoaderInput(state=STREAM_STATE, sync_id=sync_id, pl=pl)
        nomad.call("AIIn", session, body)
    texts = [text for entry in nomad.transcript for text in entry[3]]
    while nomad.transcript[-1][2] != END:
        texts += nomad.call("AIOut", session).texts
    assert texts == ["a", "c", "d", "e"]


def test_counting_begins_with_the_first_package(client: Xsf) -> None:
    """Its sync_id may be anything, and it may have payload."""
    first = xsf.LoaderInput(
        serviceId="echo", state=STREAM_STATE, sync_id=7, pl=[payload("in", b"7", status="0")]
    )
    answer = client.call("AIIn", None, first, SeqNo="1")
    session = client.echoed(answer)
    last = xsf.LoaderInput(state=STREAM_STATE, sync_id=8, pl=[payload("in", b"8", status="2")])
    texts = answer.texts + client.call("AIIn", session, last).texts
    while client.transcript[-1][2] != END:
        texts += client.call("AIOut", session).texts
    assert texts == ["7", "8"]


def test_a_client_may_send_all_it_has_before_the_engine_takes_any(client: Xsf) -> None:
    """Far more than the session's window: it waits, and the answers come later from 1 MiB on."""
    files = [bytes([65 + i]) * 100_000 for i in range(20)]
    session = client.echoed(client.create("stage", params={"mode": "wait", "name": "g4"}))
    came = b""
    for i, data in enumerate(files, 1):
        body = xsf.LoaderInput(sync_id=i, pl=[payload("in", data, status="2" if i == len(files) else "1")])
        assert client.call("AIIn", session, body, waitTime="20").summary == (0, BEGIN, [])
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "g4"})
    while client.transcript[-1][2] != END:
        came += b"".join(bytes(one.data) for one in client.call("AIOut", session).output.pl)
    assert came == b"".join(files)


# ---- what reaches the engine


def test_parameters_are_texts_with_the_sid_and_the_headers_passed(client: Xsf) -> None:
    """params, the headers of `header_pass`, and always sid."""
    headers = {"sid": "s-1", "appid": "a-1", "uid": "u-1"}
    came = client.stream(
        "stage", [Source("in", [b"x"])], params={"mode": "parameters", "n": "1"}, headers=headers
    )
    expected = [("appid", "a-1"), ("mode", "parameters"), ("n", "1"), ("sid", "s-1")]
    assert bytes(came[0].data).decode() == str(expected)


def test_the_sid_is_there_when_the_client_sends_none(client: Xsf) -> None:
    """An empty text, as wrappers are used to."""
    body = xsf.LoaderInput(
        serviceId="stage", params={"mode": "parameters"}, pl=[payload("in", b"x", status="2")]
    )
    answer = client.call("AIIn", None, body, SeqNo="1")
    texts = answer.texts
    session = client.echoed(answer)
    while client.transcript[-1][2] != END:
        texts += client.call("AIOut", session).texts
    assert texts == [str([("mode", "parameters"), ("sid", "")])]


def test_a_handle_of_the_clients_own_is_kept(nomad: Xsf) -> None:
    """Of any length; it reaches its session from every connection."""
    for handle in ("x", "client-chosen/" + "ü" * 300):
        own = xsf.Session(h=handle, t="trace-1")
        body = xsf.LoaderInput(serviceId="echo", pl=[payload("in", b"a", status="0")])
        answer = nomad.call("AIIn", own, body, SeqNo="1")
        assert (answer.response.s.h, answer.response.s.t) == (handle, "trace-1")
        texts = list(answer.texts)
        last = xsf.LoaderInput(sync_id=1, pl=[payload("in", b"b", status="2")])
        texts += nomad.call("AIIn", own, last).texts
        while nomad.transcript[-1][2] != END:
            texts += nomad.call("AIOut", own).texts
        assert texts == ["a", "b"]

"""What AIGES clients are told when something is wrong: one answer, the documented code, and the next call is served."""

from __future__ import annotations

import grpc
import pytest
import xsf_protos as xsf
from running import Running, until
from xsf_client import (
    AUDIO,
    BEGIN,
    END,
    ONCE_STATE,
    OTHER,
    STREAM_STATE,
    ServiceError,
    Source,
    Xsf,
    XsfError,
    expect,
    payload,
)

from loader.v1 import admin_pb2


def once_body(service: str, *payloads: object, **fields: object) -> object:
    return xsf.LoaderInput(serviceId=service, state=ONCE_STATE, pl=payloads, **fields)


def package(sync_id: int, data: bytes, status: int = 1) -> object:
    return xsf.LoaderInput(state=STREAM_STATE, sync_id=sync_id, pl=[payload("in", data, status=str(status))])


def assert_served(client: Xsf) -> None:
    assert client.once("echo", [payload("in", b"still")]).code == 0


# ---- requests


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"\x0a\xff\xff", 10401, "the data is not a serialised LoaderInput"),
        (b"\x2a\x05\x0a\x01\xff\x12\x00", 10401, "a name or value is not UTF-8"),
        (once_body("echo"), 10009, "invalid data: a one-shot call without payload"),
        (
            xsf.LoaderInput(serviceId="echo", state=7),
            10004,
            "invalid session mode: state is 0 (STREAM) or 1 (ONCE)",
        ),
        (
            once_body("", payload("in", b"x")),
            10106,
            "serviceId is empty; name one of the engines served here: echo, one, library, stage",
        ),
        (once_body("echo", xsf.Payload(data=b"x")), 10106, "payload 0 has no meta.name"),
        (
            once_body("nowhere", payload("in", b"x")),
            10106,
            'no engine "nowhere" is served here; served are: echo 1.0.0, one 1.0.0, library 1, stage 1',
        ),
    ],
)
def test_a_request_that_cannot_be_taken_is_told_why(client: Xsf, body: object, code: int, text: str) -> None:
    """In the LoaderOutput, with status END, and nowhere else."""
    answer = client.send("AIIn", None, body, SeqNo="1")
    assert (answer.output.code, answer.output.status, answer.output.err) == (code, END, text)
    assert (answer.response.code, answer.response.error_info) == (0, "")
    assert_served(client)


def test_an_operation_that_is_not_known(client: Xsf) -> None:
    """10003."""
    answer = client.send("AIWhat")
    assert (answer.output.code, answer.output.status) == (10003, END)
    assert answer.output.err.startswith('invalid op "AIWhat"; known are AIIn, AIOut')


def test_what_is_no_request_at_all_is_an_error_of_grpc(client: Xsf) -> None:
    """As from any gRPC server."""
    with pytest.raises(grpc.RpcError) as caught:
        client.raw(b"\x0a\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert_served(client)


def test_a_request_beyond_the_limit_is_refused_before_it_is_read(client: Xsf) -> None:
    """100 MiB."""
    with pytest.raises(grpc.RpcError) as caught:
        client.raw(b"\x22" + bytes(100 << 20), timeout_s=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert_served(client)


def test_a_package_that_cannot_be_read_ends_its_session(client: Xsf) -> None:
    """As every error does: the next call finds the session released."""
    session = client.echoed(client.create("echo"))
    assert client.send("AIIn", session, b"\xff").summary == (10401, END, [])
    assert client.send("AIIn", session, package(1, b"x")).summary == (10101, END, [])
    session = client.echoed(client.create("echo"))
    nil = xsf.LoaderInput(sync_id=1, pl=[xsf.Payload(data=b"x")])
    assert client.send("AIIn", session, nil).summary == (10106, END, [])


# ---- handles


def test_a_handle_that_never_was_and_one_that_has_been(client: Xsf) -> None:
    """10008 against 10101; AIExcp twice is no error of the client's library."""
    own = xsf.Session(h="never-seen")
    for op in ("AIIn", "AIOut", "AIExcp"):
        answer = client.send(op, own)
        assert (answer.output.code, answer.output.status, answer.response.error_info) == (10008, END, "")
    session = client.echoed(client.create("echo"))
    assert client.send("AIExcp", session).summary == (0, BEGIN, [])
    for op in ("AIExcp", "AIOut", "AIIn"):
        answer = client.call(op, session, package(1, b"x"))
        assert (answer.output.code, answer.output.status) == (10101, END)


def test_a_second_session_under_the_same_handle_is_refused(client: Xsf) -> None:
    """10110, as AIGES does; the first goes on."""
    session = client.echoed(client.create("echo"))
    body = xsf.LoaderInput(serviceId="echo")
    with pytest.raises(XsfError) as caught:
        client.call("AIIn", session, body, SeqNo="1")
    assert caught.value.code == 10110
    assert client.call("AIIn", session, package(1, b"x")).output.code == 0
    client.call("AIExcp", session)


# ---- what is expected


def test_results_that_were_not_expected(client: Xsf) -> None:
    """The texts of AIGES, to the letter; and a list of expectations that is empty accepts everything."""
    given = [payload("in", b"x")]
    with pytest.raises(ServiceError, match=r"^10106: wrapper output data is nil $"):
        client.once("echo", given, expect=[expect("out")])
    with pytest.raises(ServiceError, match=r"^10106: wrapper output data invalid\(key or type\)$"):
        client.once("echo", given, expect=[expect("in", AUDIO)])
    with pytest.raises(ServiceError, match=r"^10106: wrapper output data is nil $"):
        client.stream("echo", [Source("in", [b"x", b"y"])], expect=[expect("out", OTHER)])
    assert client.once("echo", given).code == 0


# ---- engines


def test_an_engines_own_error_travels_with_its_code(client: Xsf) -> None:
    """10909 for one-shot calls, 10907 for writes, 10905 for a session that could not be created."""
    with pytest.raises(ServiceError, match=r"^10909: boom;code=21111$"):
        client.once("stage", [payload("in", b"x")], params={"mode": "fail"})
    with pytest.raises(ServiceError, match=r"^10907: boom;code=21111$"):
        client.stream("stage", [Source("in", [b"x"])], params={"mode": "fail"})
    with pytest.raises(ServiceError, match=r"^10905: no room;code=4711$"):
        client.stream("stage", [Source("in", [b"x"])], params={"mode": "refuse"})
    with pytest.raises(ServiceError, match=r"^10909: .*ValueError: odd"):
        client.once("stage", [payload("in", b"x")], params={"mode": "raise"})


def test_a_session_aborted_while_its_package_is_written(service: Running, client: Xsf) -> None:
    """AIExcp does not wait for the engine; the slot comes back when the engine's function returns, not before."""
    until(lambda: service.instance("stage").slots_used == 0, "those of earlier sessions are back")
    session = client.echoed(client.create("stage", params={"mode": "wait", "name": "abort"}))
    assert client.call("AIIn", session, package(1, b"x"), waitTime="60000").summary == (0, BEGIN, [])
    assert client.send("AIExcp", session).summary == (0, BEGIN, [])
    assert client.send("AIOut", session).output.code == 10101
    assert service.instance("stage").slots_used == 1
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "abort"})
    until(lambda: service.instance("stage").slots_used == 0, "the slot is back")


def test_ten_times_more_sessions_than_there_is_room_for(service: Running, client: Xsf) -> None:
    """All at once: those without a slot are told 10110, the others work to their end, then all is free."""
    until(lambda: service.instance("stage").slots_used == 0, "those of earlier sessions are back")
    body = xsf.LoaderInput(serviceId="stage", state=STREAM_STATE)
    calls = [client.begin("AIIn", None, body, SeqNo="1", waitTime="10000") for _ in range(80)]
    answers = [client.answer_of("AIIn", call) for call in calls]
    codes = sorted((one.output.code, one.response.code) for one in answers)
    assert codes == [(0, 0)] * 8 + [(10110, 10110)] * 72
    for answer in answers:
        if answer.output.code == 0:
            session = client.echoed(answer)
            texts = client.call("AIIn", session, package(1, b"x", END)).texts
            while client.transcript[-1][2] != END:
                texts += client.call("AIOut", session).texts
            assert texts == ["X"]
    until(lambda: service.instance("stage").slots_used == 0, "every slot is back")


def test_ten_times_more_calls_than_there_is_room_for(service: Running, client: Xsf) -> None:
    """Each is answered, with its result or 10110."""
    body = once_body("one", payload("in", b"x"))
    calls = [client.begin("AIIn", None, body, SeqNo="1", waitTime="10000") for _ in range(100)]
    answers = [client.answer_of("AIIn", call) for call in calls]
    served = [one for one in answers if one.output.code == 0]
    assert served
    assert all(one.texts == ["x"] for one in served)
    assert {one.output.code for one in answers} <= {0, 10110}
    assert client.once("one", [payload("in", b"x")]).code == 0


def test_an_engine_that_dies_is_one_error(client: Xsf) -> None:
    """10109, once, for a one-shot call and for a session; the next is served by the next process."""

    def is_back() -> bool:
        answer = client.send("AIIn", None, once_body("stage", payload("in", b"x")), SeqNo="1")
        return answer.summary[2] == ["X"]

    with pytest.raises(ServiceError, match=r"^10109: "):
        client.once("stage", [payload("in", b"x")], params={"mode": "die"})
    until(is_back, "the engine is started again")
    with pytest.raises(ServiceError, match=r"^10109: "):
        client.stream("stage", [Source("in", [b"x"])], params={"mode": "die"})
    until(is_back, "the engine is started again")


# ---- licences


def test_a_service_that_is_full_says_so_in_both_places(client: Xsf) -> None:
    """10110 in the LoaderOutput, and with a text in ResData: what makes clients try another node."""
    session = client.echoed(client.create("one"))
    for state in (STREAM_STATE, ONCE_STATE):
        body = xsf.LoaderInput(serviceId="one", state=state, pl=[payload("in", b"x")])
        answer = client.send("AIIn", None, body, SeqNo="1")
        assert (answer.output.code, answer.output.status, answer.response.code) == (10110, END, 10110)
        assert answer.response.error_info.startswith("service license not enough")
    client.call("AIExcp", session)
    # The licence is back at once: the create that follows on its heels gets it.
    for _ in range(20):
        client.call("AIExcp", client.echoed(client.create("one")))


def test_a_session_that_nobody_calls_gives_its_licence_back(client: Xsf) -> None:
    """After session_ttl_ms; its handle is one that has been."""
    forgotten = client.echoed(client.create("one"))

    def is_free() -> bool:
        answer = client.send("AIIn", None, once_body("one", payload("in", b"x")), SeqNo="1")
        return bool(answer.output.code == 0)

    assert not is_free()
    until(is_free, "the licence came back")
    assert client.send("AIOut", forgotten).output.code == 10101


def test_calls_keep_a_session_alive(service: Running, client: Xsf) -> None:
    """A poll that waits is a call; longer than session_ttl_ms it costs no more than a shorter one."""
    session = client.echoed(client.create("one"))
    rounds = total(service, "loader_loop_rounds")
    assert client.call("AIOut", session, waitTime="6000").summary == (0, BEGIN, [])
    assert total(service, "loader_loop_rounds") - rounds < 5_000
    assert client.call("AIIn", session, package(1, b"x", END)).output.code == 0
    client.call("AIExcp", session)


def counted(service: Running, name: str, label: str) -> float:
    """The sum of a counter's values with that label for the engine `stage`."""
    values = service.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30).values
    return sum(
        value
        for key, value in values.items()
        if key.startswith(name) and label in key and 'engine="stage"' in key
    )


def total(service: Running, name: str) -> float:
    values = service.admin.GetStatistics(admin_pb2.GetStatisticsRequest(), timeout=30).values
    return sum(value for key, value in values.items() if key.startswith(name))


def open_calls(service: Running) -> float:
    return total(service, "loader_streams_open")


def test_a_one_shot_call_whose_client_vanishes_is_cancelled(service: Running, client: Xsf) -> None:
    """Closed as client_gone while the engine is still in it."""
    begun, gone = (
        counted(service, "loader_execs", ""),
        counted(service, "loader_sessions_closed", "client_gone"),
    )
    leaver = Xsf(service.ready["grpc"], timeout_ms=20_000)
    body = once_body("stage", payload("in", b"x"), params={"mode": "wait", "name": "gone"})
    call = leaver.begin("AIIn", None, body, SeqNo="1")
    until(lambda: counted(service, "loader_execs", "") == begun + 1, "the call has begun")
    call.cancel()
    until(lambda: counted(service, "loader_sessions_closed", "client_gone") == gone + 1, "the call is over")
    client.once("stage", [payload("in", b"open")], params={"mode": "open", "name": "gone"})
    leaver.close()


def test_a_poll_that_vanishes_takes_nothing_along(service: Running, client: Xsf) -> None:
    """The session goes on, and the result is for the next poll."""
    leaver = Xsf(service.ready["grpc"], timeout_ms=20_000)
    session = client.echoed(client.create("stage"))
    poll = leaver.begin("AIOut", session)
    until(lambda: open_calls(service) == 2, "the poll waits, beside the question")
    poll.cancel()
    until(lambda: open_calls(service) == 1, "the poll is gone")
    leaver.close()
    texts = client.call("AIIn", session, package(1, b"x", END)).texts
    while client.transcript[-1][2] != END:
        texts += client.call("AIOut", session).texts
    assert texts == ["X"]

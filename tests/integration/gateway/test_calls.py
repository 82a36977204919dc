"""POST: what an engine gets of a JSON body, and what its client is answered."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faces_service import ENGINES, config, engines
from openapi_spec_validator import OpenAPIV30SpecValidator
from running import Running, until
from web_client import Answer, Web, b64

HI = {"text": {"text": b64("hi"), "status": 3}}


def told(answer: Answer) -> Any:
    """What the actor says it was given."""
    assert answer.status == 200, answer.content
    return json.loads(answer.json["payload"]["text"]["text"])


# ---- routes


@pytest.mark.parametrize(
    "path",
    [
        "/v1/private/reader",
        "/v2/private/s0reader",
        "/v2/reader",
        "/v1/private/typed",
        "/v1/private/echo",
        "/v1/private/library",
    ],
)
def test_every_engine_has_its_own_path_and_those_of_its_schema(web: Web, path: str) -> None:
    """Native engines, too, of which AIGES serves none over HTTP."""
    assert web.post(path, payload={"text": {"text": b64("hi"), "status": 3}}).code == 0


def test_paths_follow_the_configuration(service: Running, web: Web) -> None:
    """An engine that comes has a path, one that goes has none; nothing is started anew for it."""
    assert web.post("late", payload=HI).status == 404
    before = service.file.read_text()
    try:
        service.rewrite(config(engines=engines() | {"late": engines()["echo"]}))
        until(lambda: web.post("late", payload=HI).status == 200, "the new engine answers")
    finally:
        service.rewrite(before)
    until(lambda: web.post("late", payload=HI).status == 404, "the engine is gone")


def test_a_path_of_one_version_leads_to_it(service: Running, web: Web) -> None:
    """Whatever its weight; the engine's own path leads to any, by weight."""
    source = (ENGINES / "reader.py").read_text()
    versions = {}
    for name, weight in (("v4", 100), ("v5", 0)):
        file = service.folder / f"reader_{name}.py"
        file.write_text(source.replace('"v2"', f'"{name}"').replace("/v2/", f"/{name}/"))
        versions[name] = {"wrapper": str(file), "weight": weight, "config": {"name": name}}
    before = service.file.read_text()
    try:
        service.rewrite(config(engines=engines() | {"two": {"versions": versions}}))
        for path in ("two", "/v4/reader", "/v5/reader"):  # each version is ready in its own time
            until(lambda path=path: web.post(path, payload=HI).status == 200, f"{path} answers")
        for path, name in (("two", "v4"), ("/v4/reader", "v4"), ("/v5/reader", "v5")):
            answer = web.post(path, parameter={"p": {"who": "?"}}, payload=HI)
            assert answer.json["payload"]["name"]["text"] == name
        assert "/v5/reader" in web.ask("GET", "/openapi.json").json["paths"]
        with web.open("/v5/reader") as talk:
            talk.write("x", 2)
            assert talk.rest()[0]["header"]["code"] == 10004  # it has no sessions
    finally:
        service.rewrite(before)


def test_an_unknown_path_names_those_that_are_there(web: Web) -> None:
    """404, in the form of any other error."""
    answer = web.post("/v1/private/nobody", payload=HI)
    assert (answer.status, answer.code) == (404, 10404)
    assert "/v2/private/s0reader" in answer.message
    assert web.ask("GET", "/v1/private/echo").status == 405


# ---- requests


def test_a_request_becomes_items_with_types_statuses_and_attributes(web: Web) -> None:
    """Base64 for every type; JSON values are taken as they are; numbers are plain decimals."""
    payload = {
        "a": {
            "text": b64("hi"),
            "status": 3,
            "encoding": "utf8",
            "rate": 16000,
            "gain": 0.25,
            "big": 1e21,
            "on": True,
        },
        "b": {"audio": b64(b"\xff\x00"), "status": 0},
        "c": {"text": {"n": [1, "ü"]}},
        "d": {"image": ""},
        "e": {"other": b64("o")},
        "f": {"text": b64("gb2312: \u4f60".encode("gb2312"))},
    }
    items = {one[0]: one[1:] for one in told(web.post("actor", payload=payload))["items"]}
    attributes = {
        "status": "3", "encoding": "utf8", "rate": "16000", "gain": "0.25", "big": "1000000000000000000000",
        "on": "true",
    }  # fmt: skip
    assert items["a"] == ["text", "once", attributes, b"hi".hex()]
    assert items["b"] == ["audio", "begin", {"status": "0"}, "ff00"]
    assert items["c"] == ["text", "once", {}, '{"n":[1,"ü"]}\n'.encode().hex()]
    assert items["d"] == ["image", "once", {}, ""]
    assert items["e"] == ["bytes", "once", {}, b"o".hex()]
    assert items["f"] == ["bytes", "once", {}, "gb2312: \u4f60".encode("gb2312").hex()]


def test_parameters_are_flattened_with_the_sid_and_the_headers_passed(web: Web) -> None:
    """Names of groups mean nothing; values stay what they are where nothing is declared."""
    header = {"sid": "s-1", "appid": "a-1", "uid": "u-1"}
    parameter = {"one": {"n": 3, "half": 0.5}, "two": {"word": "w", "none": None}, "flat": True}
    got = told(web.post("actor", header=header, parameter=parameter, payload=HI))["parameters"]
    assert got == {"n": 3, "half": 0.5, "word": "w", "flat": True, "sid": "s-1", "appid": "a-1"}


def test_a_sid_is_made_where_the_client_has_none(web: Web) -> None:
    """The engine and the client get the same."""
    answer = web.post("actor", payload=HI)
    sid = answer.json["header"]["sid"]
    assert len(sid) == 36
    assert told(answer)["parameters"] == {"sid": sid}


def test_parameters_have_the_types_that_the_engine_declares(web: Web) -> None:
    """Texts that are numbers become numbers, and numbers texts; what is not declared is refused."""
    parameter = {"typed": {"count": "16000", "ratio": "0.25", "is_on": "true", "language": 3}}
    answer = web.post("typed", parameter=parameter, payload=HI)
    said = json.loads(answer.json["payload"]["told"]["text"])
    assert said["parameters"] == {"count": 16000, "ratio": 0.25, "is_on": True, "language": "3"}
    refused = web.post("typed", parameter={"typed": {"count": "many"}}, payload=HI)
    assert (refused.status, refused.code) == (500, 10106)
    assert "count" in refused.message
    assert "many" in refused.message


def test_inputs_have_the_types_that_the_engine_declares(web: Web) -> None:
    """AIGES has no word for JSON: a text is one where it is declared."""
    payload = HI | {"facts": {"text": {"a": 1}}}
    answer = web.post("typed", payload=payload)
    said = json.loads(answer.json["payload"]["told"]["text"])
    assert said["types"] == {"text": "text", "facts": "json"}


def test_a_library_of_aiges_gets_what_the_client_sent(web: Web) -> None:
    """In C; it echoes. AIGES has no path for any of them."""
    answer = web.post(
        "library", parameter={"l": {"n": 3}}, payload={"in": {"audio": b64(b"\xff"), "status": 3}}
    )
    assert answer.json["payload"]["in"]["audio"] == b64(b"\xff")


def test_a_wrapper_of_aiges_gets_texts_in_plain_decimals(web: Web) -> None:
    """Of every parameter, the sid always among them."""
    parameter = {"s0reader": {"rate": 16000, "gain": 0.1, "on": True, "lang": "en"}}
    answer = web.post("reader", header={"sid": "s"}, parameter=parameter, payload=HI)
    expected = [("gain", "0.1"), ("lang", "en"), ("on", "true"), ("rate", "16000"), ("sid", "s")]
    assert answer.json["payload"]["result"]["text"] == str(expected)


# ---- replies


def test_the_whole_reply_of_a_call(web: Web) -> None:
    """Text is raw, seq 0, the status ONCE, and what was expected among the attributes."""
    parameter = {"echo": {"text": {"data_type": "text", "encoding": "utf8", "rate": 8000}}}
    answer = web.post("echo", header={"sid": "s"}, parameter=parameter, payload=HI)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {
        "header": {"code": 0, "message": "success", "sid": "s", "status": 3},
        "payload": {"text": {"encoding": "utf8", "rate": "8000", "seq": "0", "status": "3", "text": "hi"}},
    }


def test_everything_but_text_is_base64(web: Web) -> None:
    """Under the name of its type; bytes are `other`."""
    payload = web.do("actor", mode="kinds").json["payload"]
    common = {"encoding": "raw", "seq": "0", "status": "3"}
    kinds = {"audio": "audio", "image": "image", "video": "video", "bytes": "other"}
    assert payload == {key: common | {kind: b64(b"\xff\x00")} for key, kind in kinds.items()}


def test_several_results_of_one_key_are_a_list(web: Web) -> None:
    """Nothing is lost."""
    results = web.do("actor", mode="three").json["payload"]["text"]
    assert [one["text"] for one in results] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ({"other": {"data_type": "text"}}, "wrapper output data is nil "),
        ({"text": {"data_type": "audio"}}, "wrapper output data invalid(key or type)"),
    ],
)
def test_a_result_that_was_not_expected_is_an_error(web: Web, expected: Any, text: str) -> None:
    """By key or type, in AIGES's words."""
    answer = web.do("actor", **expected)
    assert (answer.status, answer.code, answer.message) == (500, 10106, text)


def test_an_expected_output_without_type_takes_any(web: Web) -> None:
    """AIGES refuses what its own documentation shows."""
    answer = web.do("actor", text={"encoding": "utf8"})
    assert answer.json["payload"]["text"]["encoding"] == "utf8"


# ---- errors


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"{", 10000, "the body is not JSON"),
        (b"[1]", 10001, "the body is [1]"),
        (b'{"payload": {"a": "x"}}', 10001, 'payload.a is "x"'),
        (b'{"payload": {"a": {"text": "hello"}}}', 10001, 'payload.a.text is "hello": give base64'),
        (b'{"payload": {"a": {"text": 3}}}', 10001, "payload.a.text is 3"),
        (b'{"payload": {"a": {"text": "", "status": 4}}}', 10001, "payload.a.status is 4"),
        (b'{"payload": {"a": {"text": "", "audio": ""}}}', 10001, "payload.a has text and audio"),
        (
            b'{"parameter": {"s": {"o": {"data_type": "tensor"}}}}',
            10001,
            'parameter.s.o.data_type is "tensor"',
        ),
        (b'{"header": 3}', 10001, "header is 3"),
        (b'{"header": {"sid": "\\ud800"}}', 10000, "the body is not JSON"),
        (b"{}", 10009, "a one-shot call without payload"),
    ],
)
def test_a_body_that_cannot_be_read_says_key_and_value(web: Web, body: bytes, code: int, text: str) -> None:
    """500, as of AIGES, with the code of its HTTP face."""
    answer = web.post("actor", body)
    assert (answer.status, answer.code, answer.json["payload"]) == (500, code, None)
    assert text in answer.message


def test_what_an_engine_says_reaches_the_client(web: Web) -> None:
    """The codes of the gRPC face, and an AIGES engine's own."""
    failed = web.do("actor", mode="fail")
    assert (failed.status, failed.code, failed.message) == (500, 10909, "boom;code=21111")
    own = web.post("sdk", payload={"input": {"text": b64("error 100")}})
    assert (own.code, own.message) == (10909, "no result..;code=100")
    assert web.do("actor", mode="die").code == 10109
    until(lambda: web.do("actor").code == 0, "the engine is back")


def test_a_call_that_hangs_and_one_without_a_slot(web: Web) -> None:
    """10102 when its time is over; 10110 meanwhile, in AIGES's words."""
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(web.do, "brief", mode="hang")
        until(lambda: web.do("brief").code == 10110 or hanging.done(), "the slot is taken")
        assert hanging.result(40).code == 10102
    answer = until(lambda: (one := web.do("brief")).code == 0 and one, "the engine is back")
    assert answer.status == 200


def test_no_free_slot_is_said_as_aiges_says_it(service: Running, web: Web) -> None:
    """10110 at once, with its text first."""
    session = service.open_session("brief")
    try:
        answer = web.do("brief")
        assert (answer.status, answer.code) == (500, 10110)
        assert answer.message.startswith("service license not enough: ")
    finally:
        session.call.cancel()
    until(lambda: web.do("brief").code == 0, "the slot is back")


def test_a_body_over_the_limit_is_refused(web: Web) -> None:
    """It says the limit, and is not kept."""
    for size in (200_000, 50_000_000):
        answer = web.post("actor", payload={"text": {"text": b64(b"x" * size)}})
        assert (answer.status, answer.code) == (500, 10106)
        assert "200000" in answer.message


def test_the_call_of_a_client_that_is_gone_is_cancelled(web: Web) -> None:
    """At once: the engine sees it."""
    body = json.dumps({"parameter": {"p": {"mode": "until gone", "name": "g1"}}, "payload": HI}).encode()
    host, _, port = web.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        head = f"POST /v1/private/actor HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        assert web.do("actor", mode="started", name="g1").code == 0
    assert web.do("actor", mode="reason", name="g1").json["payload"]["text"]["text"] == "cancelled"


# ---- what surrounds the engines


def test_the_description_validates(web: Web) -> None:
    """By a validator of OpenAPI; every path is in it, with what the schema and the declarations say."""
    answer = web.ask("GET", "/openapi.json")
    assert answer.headers["access-control-allow-origin"] == "*"
    document = answer.json
    OpenAPIV30SpecValidator(document).validate()
    assert {"/v2/private/s0reader", "/v1/private/typed", "/v1/private/echo"} <= set(document["paths"])
    body = document["paths"]["/v2/reader"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    parameters = body["properties"]["parameter"]["properties"]["s0reader"]
    assert parameters["properties"]["lang"] == {"type": "string", "enum": ["en", "zh"], "default": "en"}
    assert parameters["required"] == ["lang"]
    assert "audio" in body["properties"]["payload"]["properties"]["voice"]["properties"]


def test_swagger_ui_needs_nothing_from_elsewhere(web: Web) -> None:
    """The way to it, its page, and each file that the page names."""
    for method in ("GET", "POST"):
        answer = web.ask(method, "/", b"" if method == "POST" else None)
        assert (answer.status, answer.headers["location"]) == (302, "/swagger/index.html")
    page = web.ask("GET", "/swagger/index.html").content.decode()
    assert "http" not in page
    for name in ("swagger-ui.css", "swagger-ui-bundle.js"):
        assert name in page
        assert web.ask("GET", f"/swagger/{name}").status == 200
    assert web.ask("GET", "/swagger/../../etc/passwd").status == 404


def test_browsers_may_ask_from_anywhere(web: Web) -> None:
    """Also before they send JSON; errors carry the permission, too."""
    asked = web.ask("OPTIONS", "/v1/private/actor", **{"Access-Control-Request-Method": "POST"})
    assert asked.status == 204
    assert asked.headers["access-control-allow-headers"] == "*"
    for answer in (asked, web.do("actor"), web.post("nobody", payload=HI), web.post("actor", b"{")):
        assert answer.headers["access-control-allow-origin"] == "*"


def test_ping(web: Web) -> None:
    """pong to ping, everything else comes back."""
    assert web.ask("GET", "/ping").content == b"pong"
    with web.open("/ping") as talk:
        for said, heard in (("ping", "pong"), ("other", "other"), (b"\x00", b"\x00")):
            talk.connection.send(said)
            assert talk.connection.recv(20) == heard


def test_metrics_and_readiness_are_where_they_were(web: Web) -> None:
    """The faces have every other path."""
    assert b"loader_" in web.ask("GET", "/metrics").content
    assert web.ask("GET", "/readyz").json["ready"] is True
    assert "access-control-allow-origin" not in web.ask("GET", "/metrics").headers

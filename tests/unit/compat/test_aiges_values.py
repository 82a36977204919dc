"""What wrappers say and are told: results in any shape, parameters and configuration as texts."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loader.compat.aiges import convert, logs, receivers
from loader.compat.aiges.dto import DataListCls, DataListNode, Response, ResponseData, SessionCreateResponse
from loader.compat.aiges.fields import BooleanParamField, ImageBodyField, NumberParamField, StringBodyField
from loader.compat.aiges.opening import Resources
from loader.compat.aiges.schema import UndeclaredError, schema_of
from loader.compat.aiges.settings import BadSettingError, read_config
from loader.wrapper import Rejected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"), (True, "true"), (False, "false"), (3, "3"), (-2.5, "-2.5"), (1e21, "1" + "0" * 21),
        (16000.0, "16000"), (1e-7, "0.0000001"), (None, ""), ([1, "a"], '[1,"a"]'),
    ],
)  # fmt: skip
def test_values_become_texts(value: Any, text: str) -> None:
    """As Go writes them: no exponent, no trailing zeros, true and false."""
    assert convert.text_of(value) == text


def test_config_is_texts_without_the_adapters_own_key() -> None:
    """`aiges` is taken out; what no AIGES wrapper takes is refused by key."""
    settings, texts = read_config({"aiges": {"async_mode": True}, "common.lic": 10, "on": True})
    assert (settings.async_mode, settings.real_time_result) == (True, True)
    assert texts == {"common.lic": "10", "on": "true"}
    for bad, key in (({"a": {}}, "config.a"), ({"aiges": {"asyncMode": True}}, "config.aiges.asyncMode")):
        with pytest.raises(BadSettingError, match=key):
            read_config(bad)
    with pytest.raises(BadSettingError, match="write true or false"):
        read_config({"aiges": {"async_mode": "yes"}})


def test_results_of_other_packages_are_taken_by_what_they_have() -> None:
    """Objects of an installed aiges, dictionaries, a wrong len, an unknown status."""
    node = SimpleNamespace(key="k", data=memoryview(b"abc"), len=99, type=1, status=7)
    outcome = convert.outcome_of(SimpleNamespace(list=[node, {"key": "d", "data": "x"}], error_code=0))
    assert [(one.key, one.data, one.kind, one.status) for one in outcome.nodes] == [
        ("k", b"abc", 1, None), ("d", b"x", 0, None),
    ]  # fmt: skip
    assert [item.status for _, item in outcome.to_stream().items] == ["continue", "continue"]
    assert convert.outcome_of(SimpleNamespace(list=[], errCode=5)).code == 5


def test_an_untouched_response_holds_nothing() -> None:
    """The node that is there from the beginning may be filled, or others appended to it."""
    filled, appended = Response(), Response()
    filled.list[0].key = "k"
    appended.list.append(ResponseData("a"))
    assert convert.outcome_of(Response()).nodes == []
    assert [one.key for one in convert.outcome_of(filled).nodes] == ["k"]
    assert [one.key for one in convert.outcome_of(appended).nodes] == ["a"]


def test_objects_are_lenient() -> None:
    """Every published name of an attribute, writable; len told or computed."""
    node = ResponseData()
    node.data, node.len = "héllo", 3
    assert (node.len, node["data"]) == (3, "héllo")
    node.setData(b"xy")
    assert node.len == 2
    created = SessionCreateResponse()
    created.errCode = 4
    assert (created.error_code, created.err_code, Response().response_err(9).errCode) == (4, 4, 9)
    refused = Response.response_err(100)  # type: ignore[arg-type, call-arg]
    assert (refused.error_code, Response().error_code) == (100, 0)
    request = DataListCls()
    request.list = [DataListNode()]
    request.list[0].key = "k"
    assert request.get("k") is request[0]
    assert request.get("other") is None
    assert json.loads(ResponseData("k", b"\xff", 1).toJSON())["key"] == "k"


class Receiver:
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def on_response(self, response: object) -> int:
        self.got.append(response)
        return 0

    def on_meter(self, key: str, count: float) -> None:
        self.got.append((key, count))

    def on_trace(self, key: str, value: str) -> None:
        raise ValueError(key, value)


def test_callbacks_find_their_receiver_and_never_raise() -> None:
    """By any of the names given; unknown, late and failing ones are -1."""
    one, other = Receiver(), Receiver()
    assert receivers.RECEIVERS.add("t", one)
    assert not receivers.RECEIVERS.add("t", other)
    assert receivers.callback("a", "nobody", "t") == 0
    assert receivers.callback_metric("t", "seconds", 2) == 0
    assert receivers.callback_trace("t", "k", "v") == -1
    assert one.got == ["a", ("seconds", 2.0)]
    receivers.RECEIVERS.remove(other, "t")
    assert receivers.callback("b", usrTag="t") == 0
    receivers.RECEIVERS.remove(one, "t")
    assert receivers.callback("c", "t") == -1
    assert receivers.callback("c") == -1


def test_resources_are_known_to_the_wrapper_by_their_patch() -> None:
    """persId is what LoadRes was told; an unknown one is the client's mistake."""
    resources = Resources()
    resources.add(7, resources.name_of(7, {"patch_id": "lora"}))
    resources.add(8, resources.name_of(8, {}))
    assert (resources.find("7,8"), resources.find([8]), resources.find(None)) == (["lora", 8], [8], [])
    assert resources.remove(7) == "lora"
    for wrong in ("7", "x"):
        with pytest.raises(Rejected):
            resources.find(wrong)


class Declared:
    """A wrapper's declarations, with values outside their own limits."""

    serviceId = "svc"
    version = "v2"
    requestCls = type(
        "Request", (), {
            "p": NumberParamField("rate", value=16000, required=True),
            "b": BooleanParamField("on", True),
            "i": ImageBodyField("img", path="no/such.png"),
        },
    )()  # fmt: skip
    responseCls = type("Response", (), {"accept1": StringBodyField("out", "str, not bytes")})()


def test_both_forms_of_the_schema() -> None:
    """Route, kinds and parameters; the second form renames defaults and has a longer header."""
    legacy, second = (schema_of(Declared, legacy=is_legacy) for is_legacy in (True, False))
    assert legacy["meta"]["route"] == "/v2/private/svc"
    assert legacy["meta"]["svc"] == {
        "input": {"img": {"dataType": "image"}},
        "accept": {"out": {"dataType": "text"}},
    }
    params = legacy["schemainput"]["properties"]["parameter"]["properties"]["svc"]
    assert params["required"] == ["rate"]
    assert set(params["properties"]) == {"rate", "on", "out"}
    assert params["properties"]["rate"]["default"] == 16000
    renamed = second["schemainput"]["properties"]["parameter"]["properties"]["svc"]["properties"]["rate"]
    assert renamed["defaultVal"] == 16000
    assert "device_id" in second["schemainput"]["properties"]["header"]["properties"]
    with pytest.raises(UndeclaredError):
        schema_of(object, legacy=True)


def test_fields_take_what_every_version_took() -> None:
    """Text or bytes, files that are not there."""
    assert StringBodyField("k", "str").test_value == b"str"
    assert StringBodyField("k", b"bytes", True).test_value == b"Ynl0ZXM="
    assert Declared.requestCls.i.test_value


def test_a_log_file_goes_where_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be made is no reason to fail: the next one, else no file."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(logs, "FOLDERS", (tmp_path / "file" / "app", tmp_path / "app"))
    logger = logs.getFileLogger(level=logging.DEBUG, name="trap")
    try:
        logger.debug("to the second")
        assert "to the second" in (tmp_path / "app" / "trap.log").read_text()
        assert logs.getFileLogger(name="trap").handlers == logger.handlers
    finally:
        for handler in logger.handlers:
            handler.close()
    monkeypatch.setattr(logs, "FOLDERS", (tmp_path / "file" / "app",))
    assert logs.getFileLogger(name="trap-2").handlers == []

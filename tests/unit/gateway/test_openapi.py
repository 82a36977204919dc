"""The description of the routes: valid whatever wrappers declare."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from loader.client import Engine
from loader.compat.aiges.fields import AudioBodyField, IntegerParamField, StringBodyField, StringParamField
from loader.compat.aiges.schema import schema_of
from loader.gateway.aiges.openapi import cleaned, openapi
from loader.gateway.catalog import served


class Request:
    lang = StringParamField(key="lang", enums=["en", "zh"], value="en", required=True)
    note = StringParamField(key="note", maxLength=3, value="too long")
    rate = IntegerParamField(key="rate", maximum=48000, value=16000)
    voice = AudioBodyField(key="voice", path="none.wav")


class Response:
    accept = StringBodyField(key="result")


Wrapper = type(
    "Wrapper", (), {"serviceId": "s0", "version": "v2", "requestCls": Request(), "responseCls": Response()}
)


def engine(name: str, declaration: dict[str, Any]) -> Engine:
    return Engine(name, "1", "ready", declaration, 1, True, True)


def document(*engines: Engine) -> dict[str, Any]:
    made = openapi([one for engine in engines for one in served([engine])], "1.0")
    OpenAPIV30SpecValidator(made).validate()
    return made


@pytest.mark.parametrize("is_legacy", [True, False])
def test_both_forms_of_the_schema_are_described(is_legacy: bool) -> None:
    """Parameters with their defaults, where these are allowed values; the payload with its data."""
    schema = schema_of(Wrapper, legacy=is_legacy)
    made = document(engine("e", {"aiges": {"service_id": "s0", "version": "v2", "schema": schema}}))
    assert set(made["paths"]) == {"/v1/private/e", "/v2/private/s0"}
    body = made["paths"]["/v2/private/s0"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    group = body["properties"]["parameter"]["properties"]["s0"]
    assert group["properties"]["lang"] == {"type": "string", "enum": ["en", "zh"], "default": "en"}
    assert group["properties"]["rate"]["default"] == 16000
    assert "default" not in group["properties"]["note"]
    assert group["required"] == ["lang"]
    assert body["properties"]["payload"]["properties"]["voice"]["properties"]["audio"]["type"] == "string"


def test_declarations_of_other_engines_are_described() -> None:
    """By their types; what is not declared may be anything."""
    declared = {
        "inputs": [{"key": "text", "type": "text", "required": True}, {"key": "array", "type": "tensor"}],
        "outputs": [{"key": "told", "type": "json"}],
        "parameters": [{"name": "n", "type": "integer", "minimum": 1, "default": 2, "required": True}],
    }
    made = document(engine("typed", declared), engine("plain", {}))
    post = made["paths"]["/v1/private/typed"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert body["payload"]["required"] == ["text"]
    assert "other" in body["payload"]["properties"]["array"]["properties"]
    assert body["parameter"]["properties"]["typed"]["properties"]["n"] == {
        "type": "integer", "minimum": 1, "default": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "odd", "required": True, "enum": [], "minLength": -1, "properties": []},
        {"type": "array"},
        {"type": "object", "properties": {"a": 3, "b": {"$ref": "#/x"}}, "required": ["a", "a", "c"]},
        {"type": "integer", "default": True, "minimum": "0"},
        {"type": "string", "default": 3, "enum": ["a", "a"], "title": 3},
        {"type": "number", "default": 1, "maximum": 0.5},
    ],
)
def test_a_schema_with_mistakes_gives_a_valid_description(schema: dict[str, Any]) -> None:
    """What is wrong in it is left out."""
    whole = {
        "schemainput": {"type": "object", "properties": {"payload": schema}},
        "meta": {"route": "/{x}/a;/a b"},
    }
    document(engine("e", {"aiges": {"schema": whole}}))
    assert isinstance(cleaned(schema), dict)


def test_paths_of_one_engine_do_not_hide_those_of_another() -> None:
    """Its own path is an engine's whatever another's wrapper claims."""
    schema = {"meta": {"route": ["/v1/private/b", "x/y/"]}}
    (first,) = served([engine("a", {"aiges": {"schema": schema}})])
    assert first.routes == ("/v1/private/a", "/v1/private/b", "/x/y")


def test_a_path_that_one_version_of_several_names_leads_to_it() -> None:
    """What more than one names leads to any of them, as the engine's own path does."""
    routes = (["/v1/private/a", "both", "first"], ["both", "second"], [])
    versions = [
        Engine("a", str(number), "ready", {"aiges": {"schema": {"meta": {"route": said}}}}, 1, True, True)
        for number, said in enumerate(routes)
    ]
    assert [(one.routes, one.version) for one in served(versions)] == [
        (("/v1/private/a", "/both"), ""),
        (("/first",), "0"),
        (("/second",), "1"),
    ]

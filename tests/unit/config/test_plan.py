"""The plan of a change: a pure function of two configurations."""

from __future__ import annotations

import pytest

from loader.config import EngineConfig, ServiceConfig, plan
from loader.config.plan import change_of
from loader.config.schema import Change, LimitsConfig, LogConfig, RestartConfig, Section, TlsConfig


def service(**keys: object) -> ServiceConfig:
    return ServiceConfig.model_validate({"engines": {"a": {"wrapper": "/a"}}, **keys})


def engine(**keys: object) -> ServiceConfig:
    return ServiceConfig.model_validate({"engines": {"a": {"wrapper": "/a", **keys}}})


@pytest.mark.parametrize(
    "section", [ServiceConfig, EngineConfig, RestartConfig, TlsConfig, LimitsConfig, LogConfig]
)
def test_every_key_says_how_it_changes(section: type[Section]) -> None:
    """No key of the schema is without a class and a description."""
    for name, field in section.model_fields.items():
        assert isinstance(change_of(field), Change), name
        assert field.description, name


def test_equal_configurations_ask_for_nothing() -> None:
    """No difference, no plan."""
    assert plan(service(), service()).is_empty


def test_live_keys_are_live() -> None:
    """A live key asks for no replacement."""
    made = plan(engine(slots=1), engine(slots=9, restart={"intensity": 3}))
    assert {c.key: c.new for c in made.live} == {"engines.a.slots": 9, "engines.a.restart.intensity": 3}
    assert not made.needs_replacement


def test_per_session_keys_are_told_apart() -> None:
    """A per-session key is neither live nor a replacement."""
    made = plan(engine(), engine(idle_timeout_s=5))
    assert [c.key for c in made.per_session] == ["engines.a.idle_timeout_s"]
    assert not made.live
    assert not made.needs_replacement


def test_replace_keys_name_their_engine() -> None:
    """A replace key says which engine and why."""
    made = plan(engine(config={"k": 1}), engine(config={"k": 2}))
    assert made.replaced is not None
    assert [c.key for c in made.replaced["a"]] == ["engines.a.config"]
    assert made.refusals() == ["engines.a.config: {'k': 1} → {'k': 2} asks for new instances"]


def test_service_keys_need_a_restart() -> None:
    """A key of the service that is not live asks for a new loader."""
    made = plan(service(), service(grpc="127.0.0.1:9"))
    assert made.refusals() == ["grpc: '127.0.0.1:8001' → '127.0.0.1:9' takes a restart of the loader"]


def test_engines_come_and_go() -> None:
    """New and removed engines are named."""
    made = plan(service(), service(engines={"b": {"wrapper": "/b"}}))
    assert (made.started, made.stopped) == (("b",), ("a",))


def test_config_is_live_where_the_wrapper_takes_updates() -> None:
    """`config` asks for replacement, but not of an engine that has `update`."""
    made = plan(engine(config={"k": 1}), engine(config={"k": 2}), updatable=frozenset({"a"}))
    assert [c.key for c in made.live] == ["engines.a.config"]
    assert not made.needs_replacement

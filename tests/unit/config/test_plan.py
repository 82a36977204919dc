"""The plan of a change: a pure function of two configurations."""

from __future__ import annotations

import pytest

from loader.config import (
    DeploymentKey,
    EffectiveConfig,
    EngineConfig,
    Plan,
    Powers,
    ServiceConfig,
    effective,
)
from loader.config import plan as make_plan
from loader.config.plan import change_of, node_keys
from loader.config.schema import (
    AigesConfig,
    Change,
    LimitsConfig,
    LogConfig,
    RestartConfig,
    Section,
    TlsConfig,
)
from loader.config.versions import with_whole_versions

A1, A2 = DeploymentKey("a", "1"), DeploymentKey("a", "2")


def service(**keys: object) -> EffectiveConfig:
    values = with_whole_versions({"engines": {"a": {"wrapper": "/a"}}, **keys})  # type: ignore[dict-item]
    return effective(ServiceConfig.model_validate(values), lambda _: "1")


def engine(**keys: object) -> EffectiveConfig:
    return service(engines={"a": {"wrapper": "/a", **keys}})


def only_engine(plan: Plan) -> str:
    """The one engine that restarts, as a line."""
    (one,) = plan.engines
    parts = {"start": one.start, "replace": one.replace, "stop": one.stop, "update": one.update}
    return "; ".join(f"{name} {', '.join(map(str, keys))}" for name, keys in parts.items() if keys)


@pytest.mark.parametrize(
    "section", [ServiceConfig, EngineConfig, RestartConfig, TlsConfig, LimitsConfig, AigesConfig, LogConfig]
)
def test_every_key_says_how_it_changes(section: type[Section]) -> None:
    """No key of the schema is without a class and a description."""
    for name, field in section.model_fields.items():
        assert isinstance(change_of(field), Change), name
        assert field.description, name


def test_equal_configurations_ask_for_nothing() -> None:
    """No difference, no plan."""
    assert make_plan(service(), service()).is_empty


def test_live_keys_are_live() -> None:
    """A live key asks for no new instances."""
    made = make_plan(engine(slots=1), engine(slots=9, restart={"intensity": 3}))
    prefix = "engines.a.versions.1."
    assert {c.key: c.new for c in made.live} == {f"{prefix}slots": 9, f"{prefix}restart.intensity": 3}
    assert not made.engines


def test_per_session_keys_are_told_apart() -> None:
    """A per-session key is neither live nor a replacement."""
    made = make_plan(engine(), engine(idle_timeout_s=5))
    assert [c.key for c in made.per_session] == ["engines.a.versions.1.idle_timeout_s"]
    assert not made.live
    assert not made.engines


def test_replace_keys_name_their_engine() -> None:
    """A replace key says which version and why."""
    made = make_plan(engine(config={"k": 1}), engine(config={"k": 2}))
    assert only_engine(made) == "replace a 1"
    assert [c.key for c in made.engines[0].because] == ["engines.a.versions.1.config"]


def test_config_reaches_a_wrapper_that_takes_it() -> None:
    """`config` alone goes to a wrapper with `update`; with another replace key it is replaced after all."""
    powers = {A1: Powers(takes_update=True)}
    old = engine(config={"k": 1})
    assert only_engine(make_plan(old, engine(config={"k": 2}), powers)) == "update a 1"
    assert only_engine(make_plan(old, engine(config={"k": 2}, threads=2), powers)) == "replace a 1"


def test_slots_that_init_has_fixed_are_replaced() -> None:
    """A wrapper that fixes its slots at init gets new instances for new slots."""
    made = make_plan(engine(), engine(slots=2), {A1: Powers(has_fixed_slots=True)})
    assert only_engine(made) == "replace a 1"


def test_another_version_starts_and_the_old_one_stops() -> None:
    """A new `version` is one deployment that starts and one that stops, in one step."""
    assert only_engine(make_plan(engine(version="1"), engine(version="2"))) == "start a 2; stop a 1"


def test_a_canary_leaves_the_running_version_alone() -> None:
    """From the plain form to two versions: the first is the running one, also when its manifest named it."""
    made = make_plan(engine(), engine(versions={"1": {}, "2": {"wrapper": "/b", "weight": 5}}))
    assert only_engine(made) == "start a 2"


def test_weights_are_live() -> None:
    """More traffic for a version is no replacement."""
    made = make_plan(
        engine(versions={"1": {}, "2": {"weight": 5}}), engine(versions={"1": {}, "2": {"weight": 50}})
    )
    assert [(c.key, c.new) for c in made.live] == [("engines.a.versions.2.weight", 50)]
    assert not made.engines


def test_engines_come_and_go() -> None:
    """New engines start, removed ones stop; the removed come last."""
    made = make_plan(service(), service(engines={"b": {"wrapper": "/b"}}))
    assert [(one.engine, one.start, one.stop) for one in made.engines] == [
        ("b", (DeploymentKey("b", "1"),), ()),
        ("a", (), (A1,)),
    ]


def test_the_new_configuration_says_how_an_engine_is_replaced() -> None:
    """`replace: in_place` counts from the revision that says it."""
    made = make_plan(engine(version="1"), engine(version="2", replace="in_place"))
    assert made.engines[0].is_in_place


def test_service_keys_need_a_restart() -> None:
    """A key of the service that is not live asks for a new loader."""
    made = make_plan(service(), service(grpc="127.0.0.1:9"))
    assert made.refusals() == ["grpc: '127.0.0.1:8001' → '127.0.0.1:9' takes a restart of the loader"]


def test_keys_of_a_node() -> None:
    """Addresses and names belong to a node, engines to the service."""
    assert {"grpc", "node", "zone"} <= node_keys()
    assert not {"engines", "service", "drain_timeout_s"} & node_keys()

"""The deployments of a configuration: each version of each engine with all of its keys.

Plain values before validation, and the validated ones after it; refuses to read wrappers and files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loader.errors import BadConfigError

if TYPE_CHECKING:
    from loader.config.document import Value
    from loader.config.schema import EngineConfig, ServiceConfig


@dataclass(frozen=True, slots=True, order=True)
class DeploymentKey:
    """Which version of which engine."""

    engine: str
    version: str

    def __str__(self) -> str:
        return f"{self.engine} {self.version}"


@dataclass(frozen=True, slots=True)
class EffectiveConfig:
    """A configuration whose versions are all known: what a plan is made of."""

    service: ServiceConfig
    deployments: Mapping[DeploymentKey, EngineConfig]  # in the order of the configuration


def effective(service: ServiceConfig, version_of: Callable[[EngineConfig], str]) -> EffectiveConfig:
    """The deployments of `service`; `version_of` tells what the wrapper itself calls its version."""
    deployments: dict[DeploymentKey, EngineConfig] = {}
    for name, engine in service.engines.items():
        if engine.versions:
            for version, config in engine.versions.items():
                deployments[DeploymentKey(name, version)] = config
        else:
            with told_with_place(service, name, ""):
                version = engine.version or version_of(engine)
            deployments[DeploymentKey(name, version)] = engine.model_copy(update={"version": version})
    return EffectiveConfig(service, deployments)


@contextlib.contextmanager
def told_with_place(service: ServiceConfig, engine: str, version: str) -> Iterator[None]:
    """An error about a version of an engine begins with where the configuration says it."""
    try:
        yield
    except BadConfigError as error:
        place = service.place_of(engine, version)
        raise BadConfigError(
            f"{place}: engines.{engine}: {error.message}" if place else error.message
        ) from None


def merged(below: Mapping[str, Value], above: Mapping[str, Value]) -> dict[str, Value]:
    """`above` over `below`: mappings key by key, everything else replaced."""
    out = dict(below)
    for key, value in above.items():
        under = out.get(key)
        out[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return out


def with_whole_versions(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of a document in which each of an engine's versions has all the keys of the engine."""
    engines = values.get("engines")
    if not isinstance(engines, dict):
        return dict(values)
    return {**values, "engines": {name: _with_whole_versions(engine) for name, engine in engines.items()}}


def _with_whole_versions(engine: Value) -> Value:
    versions = engine.get("versions") if isinstance(engine, dict) else None
    if not isinstance(engine, dict) or not isinstance(versions, dict):
        return engine
    base = {key: value for key, value in engine.items() if key != "versions"}
    whole: dict[str, Value] = {
        name: {"version": name, **merged(_under(base, own), own)} if isinstance(own, dict) else own
        for name, own in ((name, {} if own is None else own) for name, own in versions.items())
    }
    return {**engine, "versions": whole}


def _under(base: Mapping[str, Value], own: Mapping[str, Value]) -> dict[str, Value]:
    """What a version takes from its engine: with a `command` of its own not the `wrapper`, nor the other way."""
    instead = {"wrapper": "command", "command": "wrapper"}
    without = {other for key, other in instead.items() if key in own}
    return {key: value for key, value in base.items() if key not in without}

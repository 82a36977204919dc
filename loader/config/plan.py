"""What it takes to get from one configuration to another: a pure function, printed before it is applied.

Compares values by the class that the schema gives each key; refuses to know how anything is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loader.config.schema import Change, EngineConfig, Section, ServiceConfig
from loader.config.versions import DeploymentKey, EffectiveConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

NOT_COMPARED = {"versions", "version"}  # the deployments say it


@dataclass(frozen=True, slots=True)
class Changed:
    """One key that differs."""

    key: str
    change: Change
    old: object
    new: object
    is_secret: bool = False  # something in it came from the environment

    def __str__(self) -> str:
        values = "(from the environment)" if self.is_secret else f"{self.old!r} → {self.new!r}"
        return f"{self.key}: {values}"


@dataclass(frozen=True, slots=True)
class Powers:
    """What running deployments can do about a changed key beyond its class in the schema."""

    takes_update: bool = False  # a changed `config` reaches the wrapper while it runs
    has_fixed_slots: bool = False  # `slots` is read by init only


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What happens to the deployments of one engine; all of its new ones get their sessions at one moment."""

    engine: str
    start: tuple[DeploymentKey, ...] = ()
    replace: tuple[DeploymentKey, ...] = ()  # new instances of the same version
    stop: tuple[DeploymentKey, ...] = ()
    update: tuple[DeploymentKey, ...] = ()  # `config` goes to the running wrapper
    because: tuple[Changed, ...] = ()
    is_in_place: bool = False

    @property
    def is_restarting(self) -> bool:
        """New instances are needed, or old ones end."""
        return bool(self.start or self.replace or self.stop)


@dataclass(frozen=True, slots=True)
class Plan:
    """The differences between two configurations, by what they ask for."""

    live: tuple[Changed, ...] = ()
    per_session: tuple[Changed, ...] = ()
    engines: tuple[EnginePlan, ...] = ()  # in the order of the new configuration, removed ones last
    loader: tuple[Changed, ...] = ()  # keys that need a new loader

    @property
    def is_empty(self) -> bool:
        return not (self.live or self.per_session or self.engines or self.loader)

    def refusals(self) -> list[str]:
        """One sentence for each change that no running loader can apply."""
        return [f"{changed} takes a restart of the loader" for changed in self.loader]


def plan(
    old: EffectiveConfig, new: EffectiveConfig, powers: Mapping[DeploymentKey, Powers] | None = None
) -> Plan:
    """What it takes to get from `old` to `new`, where the running deployments have `powers`."""
    found = [
        _marked(one, old.service, new.service, one.key.partition(".")[0])
        for one in _differences("", old.service, new.service, skip="engines")
    ]
    engines: list[EnginePlan] = []
    for name in dict.fromkeys(key.engine for key in (*new.deployments, *old.deployments)):
        one = _EngineDifferences(name, old, new, powers or {})
        found += one.applied_live
        if one.plan.is_restarting or one.plan.update:
            engines.append(one.plan)
    return Plan(
        live=_of(Change.LIVE, found),
        per_session=_of(Change.PER_SESSION, found),
        engines=tuple(engines),
        loader=_of(Change.REPLACE, found),
    )


class _EngineDifferences:
    """The differences of one engine's deployments."""

    def __init__(
        self,
        name: str,
        before: EffectiveConfig,
        after: EffectiveConfig,
        powers: Mapping[DeploymentKey, Powers],
    ) -> None:
        old, new = before.deployments, after.deployments
        self._services = (before.service, after.service)
        mine = [key for key in new if key.engine == name]
        self.applied_live: list[Changed] = []
        self._because: list[Changed] = []
        kept = [key for key in mine if key in old]
        asked = {key: self._compare(key, old[key], new[key], powers.get(key, Powers())) for key in kept}
        self.plan = EnginePlan(
            name,
            start=tuple(key for key in mine if key not in old),
            replace=tuple(key for key in kept if asked[key] == "replace"),
            stop=tuple(key for key in old if key.engine == name and key not in new),
            update=tuple(key for key in kept if asked[key] == "update"),
            because=tuple(self._because),
            is_in_place=any(new[key].replace == "in_place" for key in mine),
        )

    def _compare(self, key: DeploymentKey, old: EngineConfig, new: EngineConfig, powers: Powers) -> str:
        """`replace`, `update` or nothing; live keys are noted where the deployment stays."""
        prefix = f"engines.{key.engine}.versions.{key.version}."
        differences = [
            _marked(
                one, *self._services, "engines", key.engine, one.key.removeprefix(prefix).partition(".")[0]
            )
            for one in _differences(prefix, old, new)
        ]
        hard = [c for c in differences if _is_hard(c.key.removeprefix(prefix), c.change, powers)]
        if hard:
            self._because += hard
            return "replace"
        config = [c for c in differences if c.change is Change.REPLACE]
        self._because += config
        self.applied_live += [c for c in differences if c.change is not Change.REPLACE]
        return "update" if config else ""


def _is_hard(name: str, change: Change, powers: Powers) -> bool:
    if name == "slots":
        return powers.has_fixed_slots
    if name == "config":
        return not powers.takes_update
    return change is Change.REPLACE


def _marked(changed: Changed, old: ServiceConfig, new: ServiceConfig, *keys: str) -> Changed:
    return replace(changed, is_secret=old.has_secret(*keys) or new.has_secret(*keys))


def _of(change: Change, found: list[Changed]) -> tuple[Changed, ...]:
    return tuple(one for one in found if one.change is change)


def change_of(field: FieldInfo) -> Change:
    """The class that the schema gives a key."""
    return Change(_extra(field)["change"])


def is_of_node(field: FieldInfo) -> bool:
    """The key belongs to one node: its own file may set it, and wins over the center."""
    return bool(_extra(field)["is_of_node"])


def node_keys() -> frozenset[str]:
    """The keys that a node's own file may set."""
    return frozenset(name for name, field in ServiceConfig.model_fields.items() if is_of_node(field))


def _extra(field: FieldInfo) -> dict[str, object]:
    extra = field.json_schema_extra
    assert isinstance(extra, dict), "every key of the schema says how it changes"
    return dict(extra)


def _differences(prefix: str, old: Section, new: Section, skip: str = "") -> list[Changed]:
    found: list[Changed] = []
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if name == skip or name in NOT_COMPARED or before == after:
            continue
        if isinstance(before, Section) and isinstance(after, Section):
            found += _differences(f"{prefix}{name}.", before, after)
        else:
            found.append(Changed(prefix + name, change_of(field), before, after))
    return found

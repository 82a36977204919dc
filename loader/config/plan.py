"""What a change of the configuration means: a pure function of two configurations. Applies nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from loader.config.schema import Change, EngineConfig, Section, ServiceConfig

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Changed:
    """One key that differs."""

    key: str
    change: Change
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class Plan:
    """The differences between two configurations, by what they ask for."""

    live: tuple[Changed, ...] = ()
    per_session: tuple[Changed, ...] = ()
    service: tuple[Changed, ...] = ()  # keys of the service that need a new loader
    replaced: dict[str, tuple[Changed, ...]] | None = None  # engine → the keys that ask for it
    started: tuple[str, ...] = ()
    stopped: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.live or self.per_session or self.needs_replacement)

    @property
    def needs_replacement(self) -> bool:
        return bool(self.service or self.replaced or self.started or self.stopped)

    def refusals(self) -> list[str]:
        """One sentence for each change that this version cannot apply to a running loader."""
        lines = [f"{c.key}: {c.old!r} → {c.new!r} takes a restart of the loader" for c in self.service]
        for changes in (self.replaced or {}).values():
            lines += [f"{c.key}: {c.old!r} → {c.new!r} asks for new instances" for c in changes]
        lines += [f"engines.{name}: is new" for name in self.started]
        lines += [f"engines.{name}: was removed" for name in self.stopped]
        return lines


def plan(old: ServiceConfig, new: ServiceConfig, updatable: frozenset[str] = frozenset()) -> Plan:
    """What it takes to get from `old` to `new`; `updatable` engines take a changed `config` live."""
    by_change: dict[Change, list[Changed]] = {change: [] for change in Change}
    for changed in _differences("", old, new, skip="engines"):
        by_change[changed.change].append(changed)
    replaced: dict[str, tuple[Changed, ...]] = {}
    for name in old.engines.keys() & new.engines.keys():
        differences = _differences(f"engines.{name}.", old.engines[name], new.engines[name])
        if name in updatable:
            differences = [_made_live(c) if c.key == f"engines.{name}.config" else c for c in differences]
        for changed in differences:
            if changed.change is not Change.REPLACE:
                by_change[changed.change].append(changed)
        wanted = tuple(c for c in differences if c.change is Change.REPLACE)
        if wanted:
            replaced[name] = wanted
    return Plan(
        live=tuple(by_change[Change.LIVE]),
        per_session=tuple(by_change[Change.PER_SESSION]),
        service=tuple(by_change[Change.REPLACE]),
        replaced=dict(sorted(replaced.items())),
        started=tuple(name for name in new.engines if name not in old.engines),
        stopped=tuple(name for name in old.engines if name not in new.engines),
    )


def _made_live(changed: Changed) -> Changed:
    return replace(changed, change=Change.LIVE)


def change_of(field: FieldInfo) -> Change:
    """The class that the schema gives a key."""
    extra = field.json_schema_extra
    assert isinstance(extra, dict), "every key of the schema says how it changes"
    return Change(extra["change"])


def _differences(prefix: str, old: Section, new: Section, skip: str = "") -> list[Changed]:
    found: list[Changed] = []
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if name == skip or before == after:
            continue
        if (
            isinstance(before, Section)
            and isinstance(after, Section)
            and not isinstance(before, EngineConfig)
        ):
            found += _differences(f"{prefix}{name}.", before, after)
        else:
            found.append(Changed(prefix + name, change_of(field), before, after))
    return found

"""A plan for people, in colour, and as plain values for programs. Knows plans; refuses to make one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loader.cli.output import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from loader.config import EnginePlan, Plan
    from loader.config.plan import Changed

HEADS = (
    ("live", "at once", "green"),
    ("per_session", "for sessions opened later", "cyan"),
    ("loader", "a new loader is needed: running ones refuse it", "red"),
)
STEPS = (("start", "+", "green"), ("update", "~", "cyan"), ("replace", "±", "yellow"), ("stop", "-", "red"))


def plan_values(plan: Plan, remarks: Sequence[str] = ()) -> dict[str, Any]:
    """The plan for JSON and YAML."""
    return {
        "changes": not plan.is_empty,
        "needs_new_loader": bool(plan.loader),
        **{part: [_changed(one) for one in getattr(plan, part)] for part, _, _ in HEADS},
        "engines": [_engine(one) for one in plan.engines],
        "remarks": list(remarks),
    }


def _changed(changed: Changed) -> dict[str, Any]:
    if changed.is_secret:
        return {"key": changed.key, "old": None, "new": None, "is_secret": True}
    return {"key": changed.key, "old": clean(changed.old), "new": clean(changed.new), "is_secret": False}


def _engine(one: EnginePlan) -> dict[str, Any]:
    return {
        "engine": one.engine,
        **{step: [key.version for key in getattr(one, step)] for step, _, _ in STEPS},
        "replace_by": "in_place" if one.is_in_place else "surge",
        "because": [_changed(changed) for changed in one.because],
    }


def print_plan(console: Console, plan: Plan, remarks: Sequence[str] = ()) -> None:
    """The plan with what it means."""
    from rich.text import Text

    if plan.is_empty:
        console.print(Text("Nothing changes.", "bold"))
    for part, meaning, colour in HEADS[:2]:
        _print_keys(console, getattr(plan, part), meaning, colour)
    for one in plan.engines:
        _print_engine(console, one)
    _print_keys(console, plan.loader, *HEADS[2][1:])
    for remark in dict.fromkeys(remarks):
        console.print(Text(f"Note: {remark}", "dim"))


def _print_keys(console: Console, keys: Sequence[Changed], meaning: str, colour: str) -> None:
    from rich.text import Text

    if keys:
        console.print(
            Text(f"{len(keys)} {'key' if len(keys) == 1 else 'keys'}, {meaning}:", f"bold {colour}")
        )
    for one in keys:
        console.print(Text(f"  ~ {_line(one)}", colour))


def _print_engine(console: Console, one: EnginePlan) -> None:
    from rich.text import Text

    console.print(Text(f"Engine {one.engine}, {_manner(one)}:", "bold"))
    for step, sign, colour in STEPS:
        for key in getattr(one, step):
            console.print(Text(f"  {sign} {step} {key}", colour))
    for changed in one.because:
        console.print(Text(f"      because {_line(changed)}", "dim"))
    if one.replace and all(changed.key.rpartition(".")[2] == "config" for changed in one.because):
        console.print(
            Text("      a wrapper with `update` takes it while it runs, and is not replaced", "dim")
        )


def _manner(one: EnginePlan) -> str:
    if not one.is_restarting:
        return "while it runs"
    if one.is_in_place and (one.replace or one.stop):
        return "in place: the old ends before the new starts, new sessions wait"
    return "surge: the new starts beside the old, then the route flips"


def _line(changed: Changed) -> str:
    if changed.is_secret:
        return f"{changed.key}: (from the environment)"
    return f"{changed.key}: {clean(changed.old)!r} → {clean(changed.new)!r}"

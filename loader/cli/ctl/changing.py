"""The way of every change into the center: read as a loader reads it, shown as a plan, agreed to, put, followed.

Knows the steps and their exit codes; what is changed comes from the commands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from loader.cli.operating import Exit, author
from loader.cli.output import Output, console, show, table_of
from loader.cli.plan_view import plan_values, print_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.center import Acknowledgement, Document, Revision
    from loader.cli.operating import Where
    from loader.config import Plan
    from loader.operate.follow import Outcome
    from loader.operate.site import Site

COLUMNS = ("node", "state", "serving", "duration_s", "error")


@dataclass(frozen=True, slots=True)
class How:
    """How a change is to be made."""

    message: str = ""
    is_agreed: bool = False
    wait_s: float | None = None  # None: do not follow
    output: Output = Output.TABLE


async def change(
    where: Where, site: Site, held: Revision | None, changes: Sequence[Document], how: How
) -> int:
    """Puts the changes over what the center holds. Raises: LoaderError; BadConfigError before anything is put."""
    from loader.operate.site import with_documents

    wanted = with_documents(held, changes, site.root)
    if held is not None and wanted.name == held.name:
        typer.echo(f"nothing changes: {site.center.url} holds revision {held.name} already", err=True)
        return await _end(where, site, held, {"changes": False}, how)
    plan, remarks = preview(site, held, wanted)
    if plan is not None:
        print_plan(console(is_error=True), plan, remarks)
    if not how.is_agreed:
        agree(f"Put revision {wanted.name}?")
    made = await site.put(changes, held, author(), how.message)
    typer.echo(f"put revision {made.name}", err=True)
    return await _end(where, site, made, plan_values(plan, remarks) if plan else {"changes": True}, how)


def preview(site: Site, held: Revision | None, wanted: Revision) -> tuple[Plan | None, tuple[str, ...]]:
    """The plan; None where what is held is not valid itself. Raises: BadConfigError for what is wanted."""
    from loader.errors import BadConfigError
    from loader.operate.site import plan_between

    new = site.read(wanted)
    try:
        old = site.read(held) if held is not None else None
    except BadConfigError as error:
        typer.echo(f"what the center holds is not valid, so there is no plan: {error.message}", err=True)
        return None, new.remarks
    return plan_between(old, new), new.remarks


def agree(question: str) -> None:
    """Asks; ends the command where the answer is no."""
    import click

    try:
        is_agreed = typer.confirm(question, err=True)
    except click.Abort:
        typer.echo("\nnobody answers: nothing was changed: give --yes", err=True)
        raise typer.Exit(Exit.FAILED) from None
    if not is_agreed:
        typer.echo("nothing was changed", err=True)
        raise typer.Exit(Exit.FAILED)


async def _end(where: Where, site: Site, revision: Revision, value: dict[str, Any], how: How) -> int:
    if how.wait_s is None:
        if how.output is not Output.TABLE:
            show({"revision": revision.name, "plan": value}, how.output)
        return Exit.OK
    outcome = await followed(where, site, revision.name, how.wait_s)
    if how.output is Output.TABLE:
        console().print(table_of([_row(one) for one in outcome.settled], COLUMNS))
    else:
        nodes = [_row(one) for one in outcome.settled]
        result = {"revision": revision.name, "plan": value, "is_applied": outcome.is_applied, "nodes": nodes}
        show({**result, "missing": outcome.missing, "newer": outcome.newer}, how.output)
    if not outcome.is_applied:
        typer.echo(outcome.reason(), err=True)
    return outcome_code(outcome)


def outcome_code(outcome: Outcome) -> Exit:
    """The exit code of what became of a revision."""
    if outcome.newer:
        return Exit.CONFLICT
    if outcome.failed:
        return Exit.NOT_APPLIED
    return Exit.TIMEOUT if outcome.missing else Exit.OK


def _row(one: Acknowledgement) -> dict[str, Any]:
    return {
        "node": one.node,
        "state": one.state.value,
        "serving": one.serving,
        "duration_s": round(one.duration_s, 3),
        "error": one.error,
    }


async def followed(where: Where, site: Site, revision: str, limit_s: float) -> Outcome:
    """Follows all nodes with a bar of how many have settled."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from loader.operate.follow import WAITING, follow, names_of

    async with where.nodes(site) as nodes:
        names = await names_of(site.center, nodes)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    out = console(is_error=True)
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(f"revision {revision}", total=len(names))

        def tell(said: list[Acknowledgement]) -> None:
            settled = sum(one.state not in WAITING for one in said)
            busy = ", ".join(one.node for one in said if one.state in WAITING)
            text = f"revision {revision}" + (f": {busy}" if busy else "")
            progress.update(task, completed=settled, description=text)

        return await follow(site.center, revision, names, limit_s, tell)

"""What commands print: values as a table, as JSON or as YAML. Standard output holds the answer and nothing else."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table


class Output(StrEnum):
    """The form of an answer."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


OutputForm = Annotated[Output, typer.Option("--output", "-o", help="table, json or yaml.")]

STATE_COLOURS = {
    "applied": "green", "ready": "green", "applying": "yellow", "starting": "yellow", "draining": "yellow",
    "stale": "yellow", "refused": "red", "rolled_back": "red", "failed": "red", "backoff": "red",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: a key of the rows."""

    key: str
    is_right: bool = False


def console(*, is_error: bool = False) -> Console:
    """For what people read. Without a terminal there are no colours, and nothing is cut to a width."""
    from rich.console import Console

    found = Console(stderr=is_error, highlight=False, soft_wrap=False)
    return found if found.is_terminal else Console(stderr=is_error, highlight=False, width=240)


def show(value: Any, output: Output) -> None:
    """A value as JSON or YAML, on standard output."""
    if output is Output.JSON:
        typer.echo(json.dumps(clean(value), ensure_ascii=False))
    else:
        import yaml

        typer.echo(yaml.safe_dump(clean(value), sort_keys=False, allow_unicode=True), nl=False)


def show_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str | Column], output: Output) -> None:
    """Rows in the wanted form."""
    if output is Output.TABLE:
        console().print(table_of(rows, columns))
    else:
        show([dict(row) for row in rows], output)


def table_of(rows: Sequence[Mapping[str, Any]], columns: Sequence[str | Column]) -> Table:
    """A table of these keys of the rows."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    wanted = [one if isinstance(one, Column) else Column(one) for one in columns]
    for column in wanted:
        table.add_column(column.key, justify="right" if column.is_right else "left", overflow="fold")
    for row in rows:
        cells = [
            Text(_cell(row.get(column.key)), _colour(column.key, row.get(column.key))) for column in wanted
        ]
        table.add_row(*cells)
    return table


def _colour(key: str, value: Any) -> str:
    return STATE_COLOURS.get(str(value), "red" if key == "error" else "")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, dict):
        return ", ".join(f"{key}={one}" for key, one in value.items())
    return str(value)


def clean(value: Any) -> Any:
    """As JSON can hold it: no Enum, no NaN, no tuples, no sections of a configuration."""
    if isinstance(value, dict):
        return {str(key): clean(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    dump = getattr(value, "model_dump", None)
    return clean(dump(mode="json")) if dump else str(value)


def age(time_s: float) -> str:
    """How long ago, roughly."""
    return span(max(0.0, time.time() - time_s)) if time_s else ""


def span(seconds: float) -> str:
    """A time for people."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds >= 10 else f"{seconds:.1f}s"


def local_time(time_s: float) -> str:
    """A moment in the local time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))

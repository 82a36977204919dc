"""`loader ctl history`: the revisions that once were the newest."""

from __future__ import annotations

from loader.cli.operating import CenterUrl, ConfigFile, Exit, Where, run, where
from loader.cli.output import Output, OutputForm, age, local_time, show_rows


def history(
    center: CenterUrl = "",
    config: ConfigFile = "",
    output: OutputForm = Output.TABLE,
) -> None:
    """List revisions, newest first: when, who, why, and which one the center holds now.

    Exit codes: 0 listed; 1 the center does not answer; 2 the command line is wrong.
    """
    run(_history(where(center, config), output))


async def _history(place: Where, output: Output) -> int:
    async with place.site() as site:
        held = await site.load()
        entries = await site.center.history()
    rows = [
        {
            "revision": one.revision.name,
            "now": held is not None and one.revision.name == held.name,
            "time": local_time(one.time_s),
            "time_s": round(one.time_s, 3),
            "age": age(one.time_s),
            "author": one.author,
            "message": one.message,
        }
        for one in entries
    ]
    show_rows(rows, ("revision", "now", "time", "age", "author", "message"), output)
    return Exit.OK

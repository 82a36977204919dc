"""`loader rollout ENGINE --to VERSION`: a canary, step by step, given up by itself when it disappoints."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loader.cli.connection import Authority, ClientCertificate, ClientKey
from loader.cli.operating import Addresses, CenterUrl, ConfigFile, Exit, author, run, seconds, where
from loader.cli.output import Output, OutputForm, console, show

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from loader.cli.operating import Where
    from loader.operate.canary import Condition
    from loader.operate.rollout import Canary, Progress

DEFAULT_CONDITIONS = ("error_rate>1%", "host_died>0")


def rollout(
    engine: Annotated[str, typer.Argument(help="Name of the engine.")],
    to: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="The version that shall get all new sessions.")
    ],
    wrapper: Annotated[
        str, typer.Option(metavar="PATH", help="Of a version that is new, as the loaders see it.")
    ] = "",
    steps: Annotated[str, typer.Option(help="Percents of new sessions, one after the other.")] = "5,25,100",
    interval: Annotated[str, typer.Option(help="How long each step is watched: 60s, 5m.")] = "60s",
    abort_on: Annotated[
        list[str] | None,
        typer.Option(
            "--abort-on",
            metavar="CONDITION",
            help="error_rate>1%, host_died>0, first_result_p99>500ms; repeatable, or with commas. "
            "Default: error_rate>1% and host_died>0.",
        ),
    ] = None,
    min_sessions: Annotated[
        int, typer.Option(min=0, help="So many sessions of the version must have ended in each step.")
    ] = 10,
    remove_old: Annotated[
        bool, typer.Option("--remove-old", help="Take the old versions out at the end.")
    ] = False,
    timeout: Annotated[str, typer.Option(help="The longest wait for all loaders to settle.")] = "5m",
    center: CenterUrl = "",
    config: ConfigFile = "",
    address: Addresses = None,
    ca: Authority = None,
    certificate: ClientCertificate = None,
    key: ClientKey = None,
    output: OutputForm = Output.TABLE,
) -> None:
    """Give a version of an engine more and more of the new sessions, and take it back when it disappoints.

    Each step sets weights in the center, waits until all loaders serve them, and watches the loaders' own counts
    for the interval. `error_rate` is the share of ends other than finished, client_cancel, client_gone, protocol,
    idle_timeout, drain, replaced and kicked; a share and a percentile are judged from --min-sessions ends on, and a
    step goes on until so many have ended, at most ten intervals. Rolled back, the documents are as they were. At
    the end the old versions have weight 0 and stay. Ctrl-C rolls back; on a terminal it asks first; a second one
    ends at once and leaves the weights as they are. Exit codes: 0 all steps done; 1 something does not answer;
    2 the command line is wrong; 3 the configuration is not valid; 8 rolled back, and why; 130 interrupted.
    """
    from loader.operate.rollout import Canary

    canary = Canary(
        engine,
        to,
        _steps(steps),
        seconds(interval, "--interval"),
        _conditions(abort_on or list(DEFAULT_CONDITIONS)),
        min_sessions,
        wrapper,
        remove_old,
        seconds(timeout, "--timeout"),
        f"{author()} (loader rollout)",
    )
    run(_rollout(where(center, config, address, ca, certificate, key), canary, output))


def _steps(text: str) -> tuple[float, ...]:
    from loader.errors import LoaderError
    from loader.operate.canary import parse_steps

    try:
        return parse_steps(text)
    except LoaderError as error:
        raise typer.BadParameter(error.message) from None


def _conditions(texts: list[str]) -> tuple[Condition, ...]:
    from loader.errors import LoaderError
    from loader.operate.canary import Condition

    try:
        return tuple(Condition.parse(one) for text in texts for one in text.split(","))
    except LoaderError as error:
        raise typer.BadParameter(error.message) from None


async def _rollout(place: Where, canary: Canary, output: Output) -> int:
    from loader.operate.rollout import Phase, RolloutDriver

    view = View(canary, output)
    async with place.site() as site, place.nodes(site) as nodes:
        driver = RolloutDriver(site, nodes, canary, view.tell, view.leaves)
        loop = asyncio.get_running_loop()
        signals = 0

        def signalled() -> None:
            nonlocal signals
            signals += 1
            if signals == 1:
                driver.interrupt()
            else:
                view.close()
                typer.echo("interrupted again: `loader ctl engines` shows the weights as they are", err=True)
                os._exit(Exit.INTERRUPTED)  # a question may wait for its answer in a thread

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signalled)
        try:
            end = await driver.run()
        finally:
            view.close()
    if end.phase is Phase.DONE:
        return Exit.OK
    typer.echo(f"{end.phase.value.replace('_', ' ')}: {end.message}", err=True)
    return Exit.INTERRUPTED if signals else Exit.NOT_APPLIED


class View:
    """The steps as bars on a terminal, else as lines; with JSON and YAML as values."""

    def __init__(self, canary: Canary, output: Output) -> None:
        self._canary = canary
        self._output = output
        self._console = console(is_error=output is not Output.TABLE)
        self._bars: Bars | None = None
        self._task: Any = None
        self._percent = -1.0
        self._is_watched = False

    def tell(self, progress: Progress) -> None:
        """Shows what goes on."""
        if self._output is not Output.TABLE:
            if self._output is Output.YAML:
                typer.echo("---")
            show(values(progress), self._output)
        elif self._console.is_terminal:
            self._draw(progress)
        else:
            self._line(progress)

    async def leaves(self) -> bool:
        """Whether an interrupted canary stays as it is; on a terminal somebody is asked."""
        self.close()
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        return not await asyncio.to_thread(
            typer.confirm, "Roll back to the weights of before?", default=True, err=True
        )

    def close(self) -> None:
        """Ends the bars."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _line(self, progress: Progress) -> None:
        """One line a change of the phase; while watching, the last look of a step is in the next line."""
        from loader.operate.rollout import Phase

        is_watching = progress.phase is Phase.WATCHING
        if not is_watching or progress.elapsed_s >= progress.interval_s or progress.percent != self._percent:
            self._console.print(said(self._canary, progress), soft_wrap=True)
        self._percent = progress.percent if is_watching else -1.0

    def _draw(self, progress: Progress) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        from loader.operate.rollout import Phase

        if progress.phase is not Phase.WATCHING:
            self._finish()
            self._console.print(said(self._canary, progress), soft_wrap=True)
            return
        if self._bars is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(20),
                TimeRemainingColumn(),
                TextColumn("{task.fields[seen]}"),
            )
            self._bars = Progress(*columns, console=self._console)
            self._bars.start()
        if self._task is None:
            self._task = self._bars.add_task(f"{progress.percent:g} %", total=progress.interval_s, seen="")
        seen = counts_said(self._canary, progress)
        self._bars.update(self._task, completed=min(progress.elapsed_s, progress.interval_s), seen=seen)

    def _finish(self) -> None:
        self._task = None


def said(canary: Canary, progress: Progress) -> str:
    """One sentence."""
    from loader.operate.rollout import Phase

    name = f"{canary.engine} {canary.version}"
    return {
        Phase.APPLYING: f"apply: {progress.message}",
        Phase.WATCHING: f"watch {progress.percent:g} %: {counts_said(canary, progress)}",
        Phase.ROLLING_BACK: f"roll back: {progress.message}",
        Phase.DONE: f"done: {name} has {progress.percent:g} % of new sessions",
        Phase.ROLLED_BACK: f"rolled back: {name}: {progress.message}",
        Phase.LEFT: f"left: {name} has {progress.percent:g} % of new sessions",
    }[progress.phase]


def counts_said(canary: Canary, progress: Progress) -> str:
    """What was counted in this step."""
    new, others = progress.new, progress.others
    return (
        f"{canary.version}: {new.ended} ended, {new.failed} in error; others: {others.ended}, {others.failed}"
    )


def values(progress: Progress) -> dict[str, Any]:
    """For JSON and YAML."""
    sides = {
        side: {
            "ended": counts.ended,
            "failed": counts.failed,
            "open": counts.open_sessions,
            "deaths": counts.deaths,
        }
        for side, counts in (("new", progress.new), ("others", progress.others))
    }
    return {
        "phase": progress.phase.value,
        "percent": progress.percent,
        "message": progress.message,
        "elapsed_s": round(progress.elapsed_s, 1),
        "interval_s": progress.interval_s,
        "weights": dict(progress.weights),
        **sides,
    }

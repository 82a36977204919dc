"""The results as Markdown. Judges nothing: budget.py does."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tools.bench.budget import Row
from tools.bench.campaign import SCENARIOS, Plan, Results

WHY = Path(__file__).parent / "why.md"
SECTION = re.compile(r"^## (.+?)\n+(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def budget_table(rows: list[Row]) -> str:
    """The table that says pass or miss."""
    lines = ["| measure | measured | target | | |", "|---|---|---|---|---|"]
    lines += [f"| {r.measure} | {r.text} | {r.target_text} | **{r.verdict}** | {r.note} |" for r in rows]
    return "\n".join(lines) + "\n"


def page(results: Results, rows: list[Row], plan: Plan, note: str = "") -> str:
    """The text of docs/benchmarks.md."""
    counts = {word: sum(r.verdict == word for r in rows) for word in ("pass", "miss", "not measured")}
    return "\n".join(
        [
            "# Benchmarks\n",
            "<!-- Written by tools/bench: do not edit. -->\n",
            (
                f"Command: `make bench`. {datetime.now(UTC):%Y-%m-%d}, {machine()}, commit {commit()}; "
                f"{plan.rounds} alternating rounds of {plan.seconds:g} s; medians.\n"
            ),
            (
                "*Bare* is a grpc++ completion-queue echo on byte buffers with one polling thread, health and "
                "reflection on. CPU is that of all processes of a server, for each message, from /proc. The load "
                "generator (grpc++) runs on the same machine. Memory is growth of PSS over all processes. Paced rounds "
                "are repeated, at most four times, while the hypervisor withheld over 0.5 % of the CPU time: their p99 "
                "would be that pause. *triton* is "
                "its python backend: `ModelInfer` for calls; for sessions sequences on `ModelStreamInfer`, decoupled, "
                "since a frame of ours may be answered any number of times.\n"
            ),
            *([note + "\n"] if note else []),
            f"{counts['pass']} pass, {counts['miss']} miss, {counts['not measured']} not measured.\n",
            budget_table(rows),
            *misses(results, rows),
            "## Samples\n",
            samples_table(results),
            missing_list(results),
        ]
    )


def misses(results: Results, rows: list[Row], why: Path = WHY) -> Iterator[str]:
    """Each missed row: by how much, why as far as it is known, and where the time went."""
    missed = [row for row in rows if row.verdict == "miss"]
    if not missed:
        return
    reasons = dict(SECTION.findall(why.read_text()))
    yield "## Misses\n"
    for row in missed:
        text = f"**{row.name}**: {row.missed_by}. {' '.join(reasons.get(row.name, 'Not explained yet.').split())}"
        symbols = results.profiles.get(row.profile, []) if row.profile else []
        if symbols:
            text += f" Profile: {'; '.join(symbol.text for symbol in symbols)}."
        yield f"- {text}\n"


def samples_table(results: Results) -> str:
    """Every scenario and server."""
    lines = [
        "| load | server | CPU µs | messages/s | p50 µs | p99 µs | PSS MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + list(_sample_lines(results))) + "\n"


def _sample_lines(results: Results) -> Iterator[str]:
    for scenario in SCENARIOS:
        for server in scenario.servers:
            names = ("cpu_us", "rate", "p50_us", "p99_us", "memory_bytes")
            cpu, rate, p50, p99, memory = (results.median(scenario.name, server, name) for name in names)
            if cpu is None or rate is None or p50 is None or p99 is None or memory is None:
                continue
            yield (
                f"| {scenario.name} | {server} | {cpu:.1f} | {rate:,.0f} | {p50:,.0f} | {p99:,.0f} "
                f"| {memory / (1 << 20):.0f} |"
            )


def missing_list(results: Results) -> str:
    """What could not be measured, and why."""
    if not results.missing:
        return ""
    lines = [
        f"- {name}: {reason.splitlines()[0] if reason else ''}" for name, reason in results.missing.items()
    ]
    return "\n## Not measured\n\n" + "\n".join(lines) + "\n"


def machine() -> str:
    """Cores, processor, kernel, Python."""
    models = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    kernel = platform.release().partition("-")[0]
    return f"{os.cpu_count()} cores of {model}, Linux {kernel}, Python {platform.python_version()}"


def commit() -> str:
    """The commit that was measured."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return done.stdout.strip() or "unknown"

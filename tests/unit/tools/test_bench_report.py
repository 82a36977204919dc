"""What the benchmark's page says of a missed row."""

from __future__ import annotations

from pathlib import Path

from tools.bench.budget import Row, rows
from tools.bench.campaign import SCENARIOS, Results
from tools.bench.profile import parse
from tools.bench.report import SECTION, WHY, misses
from tools.bench.sample import Sample

PERF = """
# Samples: 12K of event 'cpu-clock'
#
    21.34%  loader-shard-0   libnghttp2.so.14.24.1       [.] nghttp2_session_mem_send       -      -
     9.10%  loader-host      [kernel.kallsyms]           [k] do_syscall_64
     3.00%  python host      libpython3.11.so.1.0        [.] _PyEval_EvalFrameDefault
"""


def test_a_profile_is_read() -> None:
    """Percent, thread, library, symbol; nothing of an empty one."""
    first, second, third = parse(PERF)
    assert first.text == "21 % `nghttp2_session_mem_send` (libnghttp2.so.14.24.1, loader-shard-0)"
    assert (second.library, second.name) == ("[kernel.kallsyms]", "do_syscall_64")
    assert third.thread == "python host"
    assert parse("") == []


def test_a_miss_says_by_how_much_and_why(tmp_path: Path) -> None:
    """With its text and its profile; a row that passes says nothing."""
    why = tmp_path / "why.md"
    why.write_text(
        "<!-- what this is -->\n\n## slow thing, x bare\n\nIt waits\nfor a lock.\n\n## other\n\nNot this.\n"
    )
    results = Results(profiles={("load", "native"): parse(PERF)})
    table = [
        Row("slow thing", 1.5, "x bare", 1.0, profile=("load", "native")),
        Row("small thing", 200.0, "KiB", 160.0),
        Row("good thing", 0.5, "x bare", 1.0),
        Row("unknown thing", None, "s", 1.0),
    ]
    title, slow, small = misses(results, table, why)
    assert title == "## Misses\n"
    assert (
        "**slow thing, x bare**: 1.50 x bare, target ≤ 1 x bare: 50% off. It waits for a lock. Profile: 21 %"
        in slow
    )
    assert "**small thing**: 200.00 KiB, target ≤ 160 KiB: 25% off. Not explained yet." in small
    assert list(misses(results, table[2:], why)) == []


def test_every_text_belongs_to_a_row() -> None:
    """A row that is renamed takes its explanation along."""
    one = Sample(1.0, 1.0, 1.0, 1.0, 1, 0.0)
    samples = {(scenario.name, server): [one] for scenario in SCENARIOS for server in scenario.servers}
    names = {row.name for row in rows(Results(samples=samples))}
    assert {title for title, _ in SECTION.findall(WHY.read_text())} <= names

"""`python -m tools.bench.run`: measures the budget side by side with the baselines and writes the page.

`--smoke` takes some seconds, judges nothing and fails only where something does not work.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tools.bench.budget import rows
from tools.bench.campaign import Campaign, Plan
from tools.bench.report import budget_table, page

ROOT = Path(__file__).resolve().parent.parent.parent
SMOKE = Plan(rounds=1, seconds=0.3, streams_idle=100, streams_stalled=20)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="some seconds, no page")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--programs", type=Path, default=ROOT / "build/tools/bench")
    parser.add_argument(
        "--triton", type=Path, default=ROOT / "build/triton", help="environment of nvidia-pytriton"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "docs/benchmarks.md")
    parser.add_argument("--note", default="", help="a sentence for the page: what was special about this run")
    given = parser.parse_args()
    plan = SMOKE if given.smoke else Plan(given.rounds, given.seconds, 2000, 1000)
    with tempfile.TemporaryDirectory() as folder:
        results = Campaign(given.programs, given.triton, Path(folder), plan).run()
    table = list(rows(results))
    print(budget_table(table))
    if not given.smoke:
        given.output.write_text(page(results, table, plan, given.note))
        return 0
    broken = {name: why for name, why in results.missing.items() if name not in ("aio", "triton")}
    for name, why in broken.items():
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

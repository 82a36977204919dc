"""Draws the session diagram of docs/explanation/lifecycle.md from the transition table.

`--check` changes nothing and exits 1 when the page has drifted. Knows the table only through
loader._core.session_table().
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loader._core import session_table

PAGE = Path(__file__).resolve().parent.parent / "docs/explanation/lifecycle.md"
BEGIN = "<!-- drawn by tools/draw_lifecycle.py: do not edit -->\n"
END = "<!-- end of drawing -->\n"


def drawing() -> str:
    """A state diagram, and what closes a session in each state."""
    rows = [row for row in session_table() if row["variant"] == "session" and row["outcome"] == "next"]
    rows = [row for row in rows if row["state"] != "recovering"]  # not reached without recovery
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["next"] != row["state"]:
            arrows.setdefault((row["state"], row["next"]), []).append(row["event"])
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued: open"]
    lines += [f"    {start} --> {to}: {', '.join(events)}" for (start, to), events in arrows.items()]
    lines += ["    closed --> [*]", "```", ""]
    lines += ["| state | event | closes with reason | error |", "|---|---|---|---|"]
    for row in rows:
        if row["reason"] != "unspecified":
            lines.append(f"| {row['state']} | {row['event']} | {row['reason']} | {row['error'] or 'none'} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with the drawing in its place."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + "\n" + drawing() + "\n" + END + tail


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 when the page has drifted"
    )
    text = PAGE.read_text()
    drawn = page(text)
    if parser.parse_args().check:
        if drawn != text:
            print(f"{PAGE}: has drifted from the table: run `python tools/draw_lifecycle.py`")
        return int(drawn != text)
    PAGE.write_text(drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())

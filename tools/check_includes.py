"""Proves the layering of cpp/: every quoted include of a layer is of a layer that it may use (design 7)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

CPP = Path(__file__).resolve().parent.parent / "cpp"

# What each layer may include, itself apart. `include` is the author's world: cpp/include/loader.
ALLOWED: dict[str, frozenset[str]] = {
    "include": frozenset(),
    "loop": frozenset(),
    "frame": frozenset({"include"}),
    "channel": frozenset({"include"}),
    "grpc": frozenset({"loop"}),
    "session": frozenset({"include", "frame"}),
    "host": frozenset({"include", "frame", "channel"}),
    "server": frozenset({"include", "loop", "frame", "channel", "grpc", "session", "host", "wire"}),
    "python": frozenset({"include", "frame", "channel", "host", "server", "session"}),
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
GENERATED = re.compile(r"\.(pb|grpc\.pb)\.h$")


def layer_of(include: str) -> str:
    """The layer a quoted include belongs to; empty for a file beside the includer."""
    first, _, rest = include.partition("/")
    if not rest:
        return ""
    return "include" if first == "loader" else first


def offences(path: Path) -> list[str]:
    """One sentence for each include that the layer of `path` may not have."""
    layer = path.relative_to(CPP).parts[0]
    found = []
    for include in INCLUDE.findall(path.read_text()):
        used = layer_of(include)
        if GENERATED.search(include) or used in ("", layer) or used in ALLOWED[layer]:
            continue
        may = ", ".join(sorted(ALLOWED[layer])) or "nothing"
        found.append(f"{path.relative_to(CPP.parent)}: includes {include}: {layer} may use {may}")
    return found


def main() -> int:
    sources = sorted(path for path in CPP.rglob("*") if path.suffix in (".h", ".hpp", ".cpp", ".c"))
    unknown = {path.relative_to(CPP).parts[0] for path in sources} - ALLOWED.keys()
    if unknown:
        sys.exit(f"{CPP}: no rule for {', '.join(sorted(unknown))}: add it to tools/check_includes.py")
    found = [line for path in sources for line in offences(path)]
    print("\n".join(found) or f"{len(sources)} files keep their layers")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

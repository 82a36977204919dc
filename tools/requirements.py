"""Prints the requirements of the package and of the extras named, from pyproject.toml, one a line.

So that an environment can be made before the package itself is built.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def main(extras: list[str]) -> int:
    project = tomllib.loads(PROJECT.read_text())["project"]
    optional = project["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in optional]
    if unknown:
        sys.exit(f"{PROJECT}: no extra `{unknown[0]}`: there are {', '.join(optional)}")
    print("\n".join(project["dependencies"] + [line for extra in extras for line in optional[extra]]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Makes the modules of AIGES importable in this process. Says where they are; imports none of them.

Ours come before an installed `aiges`, which demands a web framework and refuses what its own documentation
teaches; LOADER_AIGES_SDK=installed in the engine's `environment` turns that around. `aiges_embed` is always
ours: it exists nowhere else, and wrappers prefer it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

SHIMS: Final = Path(__file__).parent / "shims"
CHOICE: Final = "LOADER_AIGES_SDK"
INSTALLED: Final = "installed"
OURS: Final = "ours"


def make_importable() -> None:
    """Once is enough; again does nothing. Raises: ValueError for an unknown choice."""
    *first, last = search_path()
    for folder in first:
        if folder not in sys.path:
            sys.path.insert(0, folder)
    if last not in sys.path:  # names that could be somebody's own
        sys.path.append(last)


def search_path() -> list[str]:
    """The folders, in the order in which they are searched. Raises: ValueError for an unknown choice."""
    names = ["embed", "fallback"] if prefers_installed() else ["embed", "sdk", "fallback"]
    return [str(SHIMS / name) for name in names]


def prefers_installed() -> bool:
    """An installed `aiges` is used. Raises: ValueError."""
    choice = os.environ.get(CHOICE, OURS)
    if choice not in (OURS, INSTALLED):
        raise ValueError(f"{CHOICE} is {choice!r}: write {OURS} or {INSTALLED}")
    return choice == INSTALLED

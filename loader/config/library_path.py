"""Where a library that a configuration names without a folder lies: beside it, or in LD_LIBRARY_PATH.

The dynamic linker's own folders and its cache are left out: an engine is no system library.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def find_library(name: str, folder: Path, environment: Mapping[str, str]) -> str:
    """The path of `name`; in `folder` where it is found nowhere, or is a path itself."""
    nearest = os.path.normpath(folder / Path(name).expanduser())
    is_bare = "/" not in name and name.endswith(".so")
    if not is_bare or Path(nearest).exists():
        return nearest
    path = environment.get("LD_LIBRARY_PATH", "")
    found = (Path(one).absolute() / name for one in path.split(":") if one)
    return next((str(one) for one in found if one.is_file()), nearest)

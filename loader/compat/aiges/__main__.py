"""AIGES wrappers on their author's own machine, without a server.

    python -m loader.compat.aiges wrapper.py    runs the file with AIGES's modules at hand
    python -m loader.compat.aiges --enable      makes plain `python wrapper.py` work in this environment
    python -m loader.compat.aiges --disable     undoes that
    python -m loader.compat.aiges --path        prints the folders, for PYTHONPATH

Nothing called `aiges` is installed: `--enable` only names our folders, behind everything that is.
"""

from __future__ import annotations

import os
import runpy
import sys
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from loader.compat.aiges.importing import make_importable, search_path

FAILED: Final = 1
USAGE: Final = 2
POINTER: Final = "engine_loader_aiges.pth"


def main(arguments: list[str]) -> int:
    """The exit code; what a wrapper's file raises is raised."""
    options: dict[str, Callable[[], int]] = {"--enable": enable, "--disable": disable, "--path": show_path}
    if len(arguments) == 1 and arguments[0] in options:
        return options[arguments[0]]()
    if not arguments or not Path(arguments[0]).is_file():
        _say(__doc__ or "")
        return USAGE
    run(Path(arguments[0]).resolve(), arguments[1:])
    return 0


def run(file: Path, arguments: list[str]) -> None:
    """The file as `__main__`, in its own folder."""
    sys.argv = [str(file), *arguments]
    sys.path[0] = str(file.parent)
    os.chdir(file.parent)
    make_importable()
    runpy.run_path(str(file), run_name="__main__")


def enable() -> int:
    """Names our folders in this environment; refuses where an `aiges` is installed."""
    found = find_spec("aiges")
    if found is not None and not str(found.origin).startswith(search_path()[0].removesuffix("embed")):
        _say(f"aiges is installed in {found.origin}: it is used as it is; uninstall it to use ours")
        return FAILED
    _pointer().write_text("\n".join(search_path()) + "\n", encoding="utf-8")
    _say(f"`python wrapper.py` finds the modules of AIGES now: {_pointer()}")
    return 0


def disable() -> int:
    """Undoes enable."""
    _pointer().unlink(missing_ok=True)
    return 0


def show_path() -> int:
    """For PYTHONPATH."""
    _say(os.pathsep.join(search_path()))
    return 0


def _pointer() -> Path:
    return Path(sysconfig.get_path("purelib")) / POINTER


def _say(text: str) -> None:
    print(text)  # noqa: T201  somebody sits in front of it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`loader aiges -m 0 -c aiges.toml -s NAME`: AIGES's own command line. Serves as `loader --config` does.

Reads the flags as Go does (`-m 0`, `-m=0`, `--m=0`), and makes the URL of the configuration of them; refuses to know
what the file says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

NODES = Path("/sys/devices/system/node")
NATIVE_MODE, CENTER_MODE = "0", "1"
DEFAULT_FILE = "aiges.toml"
SWITCHES = frozenset({"v", "init", "mnist", "h", "help"})
USED = frozenset({"m", "c", "s"})
FINDER_FLAGS = {
    "p": "project",
    "g": "group",
    "s": "service",
    "u": "URL of the companion",
}  # all needed in mode 1
IGNORED_FLAGS = frozenset({"dc", "plugin", "polaris-prefix"})
VERSION = "AIGES_WRAPPER_VERSION"
BOOLEANS = frozenset({"true", "false"})
NEW_FILE = """# A service for `loader aiges -m 0 -c aiges.toml -s svcName`.
[svcName]
host = "127.0.0.1"
port = 5090

[aiges]
asyncMode = false
realTimeRlt = true

[wrapper]
http_listen = "127.0.0.1:1888"

[fc]
able = 1
router = "sessionManager"
max = 10
ttl = 15000

[log]
level = "info"
"""


@dataclass(slots=True)
class Flags:
    """A command line of AIGES."""

    values: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def parse_flags(words: list[str]) -> Flags:
    """Raises: BadParameter for a word that is no flag, an unknown one, or one without its value."""
    flags = Flags()
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise typer.BadParameter(f"{word}: is no flag: write -m 0 -c aiges.toml -s NAME")
        if name not in SWITCHES | USED | IGNORED_FLAGS | FINDER_FLAGS.keys() and not name.startswith("bvt"):
            raise typer.BadParameter(f"-{name}: there is no such flag: write -m 0 -c aiges.toml -s NAME")
        if not equals and name not in SWITCHES:
            value = _value_of(name, waiting)
        if name in IGNORED_FLAGS or name.startswith("bvt"):
            flags.ignored.append(name)
        else:
            flags.values[name] = value
    return flags


def _value_of(name: str, waiting: list[str]) -> str:
    if name in ("plugin", "bvtAble", "bvtAsync") and not (waiting and waiting[0] in BOOLEANS):
        return ""  # a switch in some versions
    if not waiting:
        raise typer.BadParameter(f"-{name}: give its value")
    return waiting.pop(0)


def aiges(
    context: typer.Context,
    flags: Annotated[
        list[str] | None, typer.Argument(metavar="FLAGS", help="As AIGES has them; see above.")
    ] = None,
) -> None:
    """Serve from an aiges.toml, by the command line of AIGES: `loader aiges -m 0 -c aiges.toml -s NAME`.

    -m 0 reads a file: -c names it, aiges.toml if not given, and -s its section of the service. -m 1 reads it from
    the finder whose companion is -u: file -c of project -p, group -g, service -s and version AIGES_WRAPPER_VERSION;
    with `finder = 1` in the file this node is registered there. -init writes an aiges.toml and ends; -v prints the
    version. -dc, -plugin, -polaris-prefix and the -bvt flags are accepted and ignored; in mode 0 -p, -g, -u, too.

    AIGES_PLUGIN_MODE (c or python) says whether libwrapper.so (by LD_LIBRARY_PATH) or wrapper.py (by PYTHONPATH) is
    served; both are also looked for in the current folder. AIGES_ENV_NUMA and AIGES_WRAPPER_VERSION count. A changed
    file is applied as any configuration is; `loader import-aiges` shows what it says in our words.
    Exit codes: as of `loader --config`.
    """
    given = parse_flags(flags or [])
    if not flags or "h" in given.values or "help" in given.values:
        typer.echo(context.get_help())
        return
    if "v" in given.values:
        from loader.cli.version import version

        version()
        return
    file = Path(given.values.get("c") or DEFAULT_FILE)
    if "init" in given.values:
        _write_new(file)
        return
    location = location_of(given, file)
    _tell_ignored(given)
    _bind_to_node(os.environ.get("AIGES_ENV_NUMA", ""))
    from loader.app import Settings, serve

    raise typer.Exit(serve(Settings(location)))


def location_of(flags: Flags, file: Path) -> str:
    """The URL of the configuration. Raises: BadParameter."""
    if "mnist" in flags.values:
        raise typer.BadParameter(
            "-mnist: nothing is downloaded here: begin with loader init --template aiges NAME"
        )
    mode = flags.values.get("m", "")
    if mode == CENTER_MODE:
        return _finder_url(flags)
    if mode != NATIVE_MODE:
        raise typer.BadParameter(f"-m {mode}: write -m 0, or -m 1 for a finder")
    if "c" not in flags.values:
        _write_new(file)
    flags.ignored += [name for name in FINDER_FLAGS if name in flags.values and name != "s"]
    return f"aiges:{file.absolute()}#{flags.values.get('s', '')}"


def _finder_url(flags: Flags) -> str:
    from loader.compat.finder.location import NO_VERSION, FinderLocation
    from loader.errors import BadConfigError

    missing = [f"-{name} ({what})" for name, what in FINDER_FLAGS.items() if not flags.values.get(name)]
    if missing:
        raise typer.BadParameter(f"-m 1: give {', '.join(missing)}")
    project, group, service, companion = (flags.values[name] for name in FINDER_FLAGS)
    companion = companion if "://" in companion else f"http://{companion}"
    version = os.environ.get(VERSION) or NO_VERSION
    file = flags.values.get("c") or DEFAULT_FILE
    url = FinderLocation(companion.rstrip("/"), project, group, service, version, file).url
    try:
        return FinderLocation.parse(url).url
    except BadConfigError as error:
        raise typer.BadParameter(f"-m 1: {error.message}") from None


def _write_new(file: Path) -> None:
    """Never over one that is there."""
    if file.exists():
        return
    try:
        file.write_text(NEW_FILE, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(
            f"{file}: cannot be written: {error.strerror}: give a file with -c"
        ) from None
    typer.echo(f"{file}: written", err=True)


def _tell_ignored(flags: Flags) -> None:
    if flags.ignored:
        names = ", ".join(f"-{name}" for name in dict.fromkeys(flags.ignored))
        typer.echo(f"{names}: accepted, and without meaning here", err=True)


def _bind_to_node(said: str) -> None:
    """This process and the hosts that it starts run on the processors of a NUMA node; what cannot be is told."""
    if not said or said.startswith("-"):
        return
    try:
        processors = processors_in((NODES / f"node{int(said)}" / "cpulist").read_text())
        os.sched_setaffinity(0, processors)
    except (OSError, ValueError) as error:
        typer.echo(f"AIGES_ENV_NUMA={said}: not bound to that node: {error}", err=True)


def processors_in(text: str) -> set[int]:
    """The numbers in `0-3,8`. Raises: ValueError."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found

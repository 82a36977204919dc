"""What a wrapper is, without serving it: does it load, which ABI, which powers, what does it declare.

Looks from a process of its own, so that a wrapper that crashes while it is loaded takes nothing with it: a library
by `loader-host --check`, a module by `python -m loader.engine.probe ENTRY`. init is not called.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loader.errors import BadWrapperError

if TYPE_CHECKING:
    from loader.engine.manifest import Manifest

LIMIT_S = 120


@dataclass(frozen=True, slots=True)
class Probe:
    """What a wrapper says of itself."""

    name: str
    version: str
    abi: str
    powers: list[str]
    declaration: dict[str, Any]


def probe(manifest: Manifest, python: str = "") -> Probe:
    """What the wrapper says. Raises: BadWrapperError with what is wrong and the cure."""
    entry = str(manifest.entry)
    if manifest.kind == "native":
        from loader.engine.spec import host_program

        return _from_library(_run([str(host_program()), "--check", entry], entry))
    return Probe(**_run([python or sys.executable, "-P", "-m", "loader.engine.probe", entry], entry))


def _run(command: list[str], entry: str) -> dict[str, Any]:
    """The last line that the command prints, as JSON."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BadWrapperError(f"{entry}: loading it has not ended in {LIMIT_S} s") from None
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    if done.returncode < 0:
        raise BadWrapperError(f"{entry}: loading it crashed the process (signal {-done.returncode})")
    raise BadWrapperError(
        done.stderr.strip() or f"{entry}: loading it ended with exit code {done.returncode}"
    )


def _from_library(said: dict[str, Any]) -> Probe:
    powers = [name for name in said["entries"] if name in ("exec", "create", "cancel")] + said["extensions"]
    abi = f"{said['abi']['major']}.{said['abi']['minor']}"
    return Probe(said["name"], said["version"], abi, powers, said["describe"] or {})


def probe_python(entry: Path) -> Probe:
    """The wrapper class of a module. Raises: BadWrapperError, or what the module raises."""
    import loader
    from loader.host.load import BadWrapper, load_wrapper

    try:
        found = load_wrapper(entry.parent, entry.name)
    except BadWrapper as error:
        raise BadWrapperError(str(error)) from None
    names = ("exec", "create", "warm_up", "health", "update")
    powers = [name for name in names if callable(getattr(found, name, None))]
    version = str(getattr(sys.modules[found.__module__], "__version__", ""))
    return Probe(found.__name__, version, f"python {loader.__version__}", powers, found.describe())


def main(entry: Path) -> int:
    """Prints the probe as one JSON line, or the error on standard error."""
    try:
        found = probe_python(entry)
    except BadWrapperError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n" + json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

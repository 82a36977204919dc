"""What a wrapper is, without serving it: does it load, which ABI, which powers, what does it declare.

Looks from a process of its own, so that a wrapper that crashes while it is loaded takes nothing with it: a library
by `loader-host --check`, a module by `python -m loader.engine.probe ENTRY FD`. init is not called.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from loader.errors import BadWrapperError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loader.engine.manifest import Manifest

LIMIT_S = 120
SHOWN_LINES = 5


@dataclass(frozen=True, slots=True)
class Probe:
    """What a wrapper says of itself."""

    name: str
    version: str
    abi: str
    powers: list[str]
    declaration: dict[str, Any]
    notes: list[str] = field(default_factory=list)  # one line each, for whoever reads


def probe(manifest: Manifest, python: str = "", environment: Mapping[str, str] | None = None) -> Probe:
    """What the wrapper says in `environment`. Raises: BadWrapperError with what is wrong and the cure."""
    child = _Child(manifest.entry, environment)
    if manifest.kind == "native":
        from loader.engine.spec import host_program

        said = child.run([str(host_program()), "--check", str(manifest.entry)])
        return _from_library(said)
    with tempfile.TemporaryFile() as answer:
        # An answer on a descriptor of its own: what the module prints is its own business.
        command = [python or sys.executable, "-P", "-m", "loader.engine.probe", str(manifest.entry)]
        return Probe(**child.run([*command, str(answer.fileno())], answer))


class _Child:
    """The process that loads one wrapper."""

    def __init__(self, entry: Path, environment: Mapping[str, str] | None) -> None:
        self._entry = entry
        self._environment = environment

    def run(self, command: list[str], answer: IO[bytes] | None = None) -> dict[str, Any]:
        """What the process answers: in `answer`, or as a line of its output. Raises: BadWrapperError."""
        # Files in place of pipes: a process that the wrapper leaves behind would hold a pipe open.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            code = self._wait(command, output, errors, answer)
            said = _answer_in(_text(answer or output))
            if said is None:
                raise BadWrapperError(f"{self._entry}: {_ending(code, _text(errors))}")
        if "error" in said:
            raise BadWrapperError(str(said["error"]))
        return said

    def _wait(
        self, command: list[str], output: IO[bytes], errors: IO[bytes], answer: IO[bytes] | None
    ) -> int:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                pass_fds=(answer.fileno(),) if answer else (),
                env=self._environment,
                cwd=self._entry.parent,
                process_group=0,
            )
        except OSError as error:
            raise BadWrapperError(f"{self._entry}: cannot start {command[0]}: {error.strerror}") from None
        ended = os.pidfd_open(process.pid)
        try:
            is_over = bool(select.select([ended], [], [], LIMIT_S)[0])
        finally:
            os.close(ended)
            os.killpg(
                process.pid, signal.SIGKILL
            )  # not reaped yet: the number is ours, its children's group too
            process.wait()
        if not is_over:
            raise BadWrapperError(
                f"{self._entry}: loading it has not ended in {LIMIT_S} s: load less while importing, more in init"
            )
        return process.returncode


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _answer_in(text: str) -> dict[str, Any] | None:
    """The last line that is a JSON object."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                found: dict[str, Any] = json.loads(line)
                return found
    return None


def _ending(code: int, errors: str) -> str:
    """What a process that has not answered died of."""
    from loader.engine.process import signal_name

    said = "; ".join(line.strip() for line in errors.splitlines()[-SHOWN_LINES:] if line.strip())
    how = (
        f"loading it crashed the process (signal {signal_name(-code).removeprefix('signal ')})"
        if code < 0
        else f"loading it ended the process with exit code {code}: it must not end it"
    )
    return f"{how}; it printed: {said}" if said else how


def _from_library(said: dict[str, Any]) -> Probe:
    powers = [name for name in said["entries"] if name in ("exec", "create", "cancel")] + said["extensions"]
    aiges = said.get("aiges")
    abi = "of AIGES" if aiges else f"{said['abi']['major']}.{said['abi']['minor']}"
    notes = aiges["notes"] if aiges else []
    return Probe(said["name"], said["version"], abi, powers, said["describe"] or {}, notes)


# ---- in the process that loads a module


def probe_python(entry: Path) -> Probe:
    """The wrapper class of a module. Raises: BadWrapper, or what the module raises."""
    import loader
    from loader.host.load import load_wrapper

    found = load_wrapper(entry.parent, entry.name)
    names = ("exec", "create", "warm_up", "health", "update")
    powers = [name for name in names if callable(getattr(found, name, None))]
    version = str(getattr(sys.modules[found.__module__], "__version__", ""))
    return Probe(found.__name__, version, f"python {loader.__version__}", powers, found.describe())


def explain(error: BaseException, entry: Path) -> str:
    """What the module raised, with the author's own line and the cure."""
    from loader.host.load import BadWrapper

    if isinstance(error, BadWrapper):
        return str(error)
    place = _place_of(error, entry)
    text = f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}".rstrip(": ")
    if isinstance(error, ModuleNotFoundError):
        return f"{place}: {text}: install it for {sys.executable}, or correct the import"
    if isinstance(error, SystemExit):
        return f"{place}: the module ends the process ({text}): remove that"
    return f"{place}: {text}: correct the wrapper"


def _place_of(error: BaseException, entry: Path) -> str:
    """The last line of the author's folder that led to the error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(entry.parent)]
    return f"{own[-1].filename}:{own[-1].lineno}" if own else str(entry)


def main(entry: Path, answer_fd: int) -> None:
    """Writes the probe, or the error, as one JSON line to the descriptor."""
    os.set_inheritable(answer_fd, False)
    sys.argv = [str(entry)]  # as in a host: a module may look at it
    try:
        said = asdict(probe_python(entry))
    except BaseException as error:  # noqa: BLE001  the author's module raises what it likes
        said = {"error": explain(error, entry)}
    os.write(answer_fd, json.dumps(said, default=str).encode() + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
    os._exit(0)  # threads and exit handlers of the module cannot keep the process

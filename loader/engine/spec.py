"""One engine ready to be started: its configuration joined with its manifest, and the command of a host.

Pure but for looking at files; starts nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import loader
from loader.engine.manifest import Manifest, is_aiges, manifest_of
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loader.config.schema import EngineConfig

MOST_THREADS = 32
MOST_BLOCKING_THREADS = 1024
INTERPRETER_S = 60


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine of the service."""

    name: str
    version: str
    config: EngineConfig
    manifest: Manifest
    place: str = field(default="", compare=False)  # where the configuration says it

    @property
    def is_inline(self) -> bool:
        return self.config.isolation == "inline"

    @property
    def threads(self) -> int:
        slots = self.config.slots
        if self.config.threads or slots <= MOST_THREADS:
            return self.config.threads or slots
        # A call of an AIGES wrapper or a command keeps its thread: with fewer of them, slots would wait for slots.
        is_blocking = bool(self.config.command) or is_aiges(self.manifest.entry)
        return min(slots, MOST_BLOCKING_THREADS if is_blocking else MOST_THREADS)

    def core_options(self) -> dict[str, object]:
        """What the data plane needs to know of the engine."""
        config = self.config
        copied = (
            "slots", "admission_wait_ms", "queue_limit", "call_timeout_ms", "create_timeout_ms",
            "destroy_timeout_ms", "host_timeout_ms", "hang_grace_ms", "idle_timeout_s", "init_timeout_s",
            "session_window_bytes", "isolation",
        )  # fmt: skip
        return {
            **{key: getattr(config, key) for key in copied},
            "threads": self.threads,
            "language": self.manifest.kind,
            "directory": str(self.manifest.entry.parent),
            "entry": self.manifest.entry.name,
            "config_json": json.dumps(config.config | self._for_adapter()),
            "awaits_resources": True,
        }

    def _for_adapter(self) -> dict[str, object]:
        """What the adapter of a command is told beside the author's `config`."""
        if not self.config.command:
            return {}
        said = {"words": self.config.command, "init_timeout_s": self.config.init_timeout_s}
        return {"loader.command": said}

    @property
    def folder(self) -> Path:
        """The current folder of a host."""
        return Path(self.config.folder) if self.config.command else self.manifest.entry.parent

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The command line of a host: `arguments` name its descriptors."""
        if self.manifest.kind == "native":
            return [str(host_program()), *arguments]
        # -P keeps the current folder and the script's off sys.path. The last word is for whoever lists processes.
        python = self.config.python or sys.executable
        return [python, "-P", "-m", "loader.host", *arguments, str(self.manifest.entry)]

    def environment(self) -> dict[str, str]:
        """The environment of a host."""
        return {**os.environ, "PYTHONUNBUFFERED": "1", **self.config.environment}


def make_spec(name: str, config: EngineConfig, place: str = "") -> EngineSpec:
    """The engine `name`. Raises: BadConfigError where it cannot be started at all."""
    manifest = manifest_of(config)
    if config.isolation == "inline" and manifest.kind != "native":
        what = "a command" if config.command else "a Python wrapper"
        raise BadConfigError(f"engines.{name}.isolation: {what} cannot run inline: write `process`")
    if config.python:
        check_interpreter(name, config.python)
    return EngineSpec(name, config.version or manifest.version, config, manifest, place)


def host_program() -> Path:
    """`loader-host`, beside the compiled modules of this installation: never looked up by PATH."""
    from loader import _core

    program = Path(_core.__file__ or "").parent / "loader-host"
    if not program.is_file():
        raise BadConfigError(f"{program} is missing: install engine-loader again, with its native parts")
    return program


def check_interpreter(name: str, python: str) -> None:
    """Refuses an interpreter that does not exist or in which another engine-loader, or none, is installed."""
    if shutil.which(python) is None:
        raise BadConfigError(
            f"engines.{name}.python: {python} is no program: give the path of a Python interpreter"
        )
    probe = [python, "-P", "-c", "import loader; print(loader.__version__)"]
    try:
        answer = subprocess.run(
            probe, capture_output=True, text=True, errors="replace", timeout=INTERPRETER_S, check=False
        )
    except OSError as error:
        raise BadConfigError(
            f"engines.{name}.python: {python} cannot be run: {error.strerror}: "
            "give the path of a Python interpreter"
        ) from None
    except subprocess.TimeoutExpired:
        raise BadConfigError(
            f"engines.{name}.python: {python} has not answered in {INTERPRETER_S} s: "
            "give the path of a Python interpreter"
        ) from None
    found = answer.stdout.strip() if answer.returncode == 0 else "none"
    if found != loader.__version__:
        raise BadConfigError(
            f"engines.{name}.python: {python} has engine-loader {found}, {loader.__version__} is needed: "
            f"run `{python} -m pip install engine-loader=={loader.__version__}`"
        )

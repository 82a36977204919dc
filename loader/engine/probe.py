"""What a wrapper is, without serving it: does it load, which ABI, which powers, what does it declare.

`probe()` looks from a process of its own (`python -m loader.engine.probe KIND ENTRY`), so that a wrapper that
crashes while it is loaded takes nothing with it. init is not called.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import BadWrapperError

if TYPE_CHECKING:
    from loader.engine.manifest import Manifest

ABI_MAJOR = 1
LIMIT_S = 120
EXTENSIONS = ("loader.warmup/1", "loader.health/1", "loader.update/1")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a wrapper says of itself."""

    name: str
    version: str
    abi: str
    powers: list[str]
    declaration: str  # JSON; empty: nothing declared


class _Table(ctypes.Structure):
    """loader_wrapper_t of wrapper.h, which is frozen."""

    _fields_ = [
        ("abi_major", ctypes.c_uint32),
        ("abi_minor", ctypes.c_uint32),
        ("struct_size", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("name", ctypes.c_char_p),
        ("version", ctypes.c_char_p),
        ("describe", ctypes.CFUNCTYPE(ctypes.c_char_p)),
        *(
            (name, ctypes.c_void_p)
            for name in ("init", "fini", "exec", "create", "write", "end", "cancel", "destroy")
        ),
        ("get_extension", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)),
    ]


def probe(manifest: Manifest, python: str = "") -> Probe:
    """What the wrapper says. Raises: BadWrapperError with what is wrong and the cure."""
    command = [
        python or sys.executable,
        "-P",
        "-m",
        "loader.engine.probe",
        manifest.kind,
        str(manifest.entry),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise BadWrapperError(f"{manifest.entry}: loading it has not ended in {LIMIT_S} s") from None
    lines = done.stdout.splitlines()
    if done.returncode == 0 and lines:
        return Probe(**json.loads(lines[-1]))
    if done.returncode < 0:
        raise BadWrapperError(f"{manifest.entry}: loading it crashed the process (signal {-done.returncode})")
    raise BadWrapperError(done.stderr.strip() or f"{manifest.entry}: loading it ended with {done.returncode}")


def probe_native(entry: Path) -> Probe:
    """The table of a shared library. Raises: BadWrapperError."""
    try:
        library = ctypes.CDLL(str(entry), mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        raise BadWrapperError(f"{entry}: cannot be loaded: {error}: install or link what it needs") from None
    try:
        export = library.loader_wrapper
    except AttributeError:
        raise BadWrapperError(
            f"{entry}: is no wrapper: it does not export `loader_wrapper`: use the macro of loader/wrapper.hpp, "
            "or mark the function LOADER_EXPORT"
        ) from None
    export.restype = ctypes.POINTER(_Table)
    pointer = export()
    if not pointer:
        raise BadWrapperError(
            f"{entry}: loader_wrapper() returned NULL: return the address of a static table"
        )
    return _read_table(entry, pointer.contents)


def _read_table(entry: Path, table: _Table) -> Probe:
    if table.abi_major != ABI_MAJOR:
        raise BadWrapperError(
            f"{entry}: has ABI {table.abi_major}.{table.abi_minor}, this loader has {ABI_MAJOR}: "
            "compile it again with this loader's loader/wrapper.h"
        )
    if table.struct_size < ctypes.sizeof(_Table):
        raise BadWrapperError(
            f"{entry}: its table has {table.struct_size} bytes, at least {ctypes.sizeof(_Table)} are needed: "
            "set struct_size to sizeof(loader_wrapper_t)"
        )
    missing = [name for name in ("init", "fini") if not getattr(table, name)]
    if missing or not (table.exec or table.create):
        raise BadWrapperError(f"{entry}: its table lacks {missing[0] if missing else 'both exec and create'}")
    powers = [name for name in ("exec", "create", "cancel") if getattr(table, name)]
    if table.get_extension:
        powers += [name for name in EXTENSIONS if table.get_extension(name.encode())]
    declaration = table.describe() if table.describe else None
    return Probe(
        (table.name or b"").decode(),
        (table.version or b"").decode(),
        f"{table.abi_major}.{table.abi_minor}",
        powers,
        (declaration or b"").decode(),
    )


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
    return Probe(
        found.__name__, version, f"python {loader.__version__}", powers, json.dumps(found.describe())
    )


def main(kind: str, entry: Path) -> int:
    """Prints the probe as one JSON line, or the error on standard error."""
    try:
        found = probe_native(entry) if kind == "native" else probe_python(entry)
    except BadWrapperError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n" + json.dumps(asdict(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))

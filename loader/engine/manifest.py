"""`engine.yaml` beside a wrapper: name, version, kind and entry file. Nothing is loaded to read it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import loader
from loader.config.document import parse_document
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from loader.config.schema import EngineConfig

KINDS = ("python", "native")
FILE_NAME = "engine.yaml"
KEYS = ("name", "version", "kind", "entry")
AIGES_WORDS = (b"aiges_embed", b"aiges.", b"def wrapperOnceExec(", b"def wrapperCreate(")
COMMAND_ADAPTER = Path(loader.__file__ or "").parent / "compat/aiges/plugin/entry/wrapper.py"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What must be known of a wrapper before loading it."""

    name: str
    version: str
    kind: str
    entry: Path  # absolute


def read_manifest(wrapper: Path) -> Manifest:
    """The manifest of a wrapper's folder, or one made up for a bare `wrapper.py` or `.so`.

    Raises: BadConfigError with the file at fault and what it lacks.
    """
    if wrapper.is_dir():
        return _from_folder(wrapper)
    if not wrapper.exists():
        raise BadConfigError(
            f"{wrapper}: there is no such wrapper: give a folder with {FILE_NAME}, a .py, a .so, or the name of "
            "a .so in LD_LIBRARY_PATH"
        )
    kind = {".py": "python", ".so": "native"}.get(wrapper.suffix)
    if kind is None:
        raise BadConfigError(
            f"{wrapper}: a wrapper is a folder with {FILE_NAME}, a .py or a .so, not `{wrapper.suffix}`"
        )
    return Manifest(wrapper.stem, "1", kind, wrapper.absolute())


def _from_folder(folder: Path) -> Manifest:
    path = folder / FILE_NAME
    if not path.is_file():
        return _without_manifest(folder)
    document = parse_document(_read(path), str(path), {})
    values = document.values
    unknown = [key for key in values if key not in KEYS]
    if unknown:
        raise BadConfigError(f"{path}: unknown key `{unknown[0]}`: known are {', '.join(KEYS)}")
    lists = [key for key in values if isinstance(values[key], (list, dict))]
    if lists:
        raise BadConfigError(f"{path}: `{lists[0]}` is a list or a mapping: write one word")
    kind = str(values.get("kind", ""))
    if kind not in KINDS:
        raise BadConfigError(f"{path}: kind is `{kind}`: write `kind: python` or `kind: native`")
    entry = folder.absolute() / str(values.get("entry", "wrapper.py" if kind == "python" else "wrapper.so"))
    if not entry.is_file():
        cure = "build it (`make build`)" if kind == "native" else "correct `entry`"
        raise BadConfigError(f"{path}: the entry file {entry} does not exist: {cure}")
    # As it is written: YAML makes 1.1 of version 1.10.
    version = document.texts.get(("version",)) or "1"
    return Manifest(str(values.get("name", folder.name)), version, kind, entry)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfigError(f"{path}: cannot be read: {error.strerror}: correct its rights") from None
    except UnicodeDecodeError as error:
        raise BadConfigError(f"{path}: is not UTF-8 text: byte {error.start}: save it as UTF-8") from None


def _without_manifest(folder: Path) -> Manifest:
    for entry, kind in (("wrapper.py", "python"), ("wrapper.so", "native"), ("libwrapper.so", "native")):
        if (folder / entry).is_file():
            return Manifest(folder.name, "1", kind, folder.absolute() / entry)
    raise BadConfigError(f"{folder}: has neither {FILE_NAME} nor wrapper.py, wrapper.so or libwrapper.so")


def manifest_of(config: EngineConfig) -> Manifest:
    """That of an engine's wrapper, or of the adapter that runs its command. Raises: BadConfigError."""
    return (
        Manifest("command", "1", "python", COMMAND_ADAPTER)
        if config.command
        else read_manifest(Path(config.wrapper))
    )


def is_aiges(entry: Path) -> bool:
    """A library with AIGES's functions and not ours, or a module that names AIGES: nothing is loaded."""
    try:
        with entry.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as names:
            if entry.suffix == ".so":
                return names.find(b"\0wrapperInit\0") >= 0 and names.find(b"\0loader_wrapper\0") < 0
            return any(names.find(word) >= 0 for word in AIGES_WORDS)
    except (OSError, ValueError):  # gone, or empty
        return False


def version_of(config: EngineConfig) -> str:
    """What the wrapper of an engine calls its version. Raises: BadConfigError."""
    return manifest_of(config).version

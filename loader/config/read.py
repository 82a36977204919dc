"""Text → ServiceConfig, or one error that lists every mistake with its line and the nearest known key.

Knows pydantic's error list; refuses to know files and centers.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from loader.config.document import Document, Place
from loader.config.document import Path as KeyPath
from loader.config.documents import lay_over, merge_documents
from loader.config.library_path import find_library
from loader.config.schema import EngineConfig, ServiceConfig
from loader.config.versions import with_whole_versions
from loader.errors import BadConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# Where pydantic's own words would name a Python class.
PLAIN = {
    "model_type": "should be a mapping of keys to values",
    "dict_type": "should be a mapping of names to values",
    "list_type": "should be a list",
}


def read_config(text: str, origin: str, environment: Mapping[str, str] | None = None) -> ServiceConfig:
    """The configuration in `text`; `origin` is its file. Wrapper, interpreter and key files are made absolute.

    Raises: BadConfigError, one line for each mistake: file, line, key, value seen, what to write.
    """
    return read_documents({origin: text}, Path(origin).resolve().parent, environment=environment)


def read_documents(
    documents: Mapping[str, str],
    folder: Path,
    over: Document | None = None,
    environment: Mapping[str, str] | None = None,
) -> ServiceConfig:
    """The configuration in the first of `documents` and those it includes, by name, with `over` over them.

    Relative paths in it begin at `folder`. Raises: as read_config.
    """
    return validate(effective_document(documents, over, environment), folder)


def effective_document(
    documents: Mapping[str, str], over: Document | None = None, environment: Mapping[str, str] | None = None
) -> Document:
    """The values of all documents, merged, and where each was written; not validated."""
    document = merge_documents(documents, os.environ if environment is None else environment)
    if over is not None:
        lay_over(document, over)
    return document


def validate(document: Document, folder: Path) -> ServiceConfig:
    """The configuration that the values are. Raises: as read_config."""
    try:
        config = ServiceConfig.model_validate(with_whole_versions(document.values))
    except ValidationError as error:
        # A mistake in a key that versions take from their engine is found once in each of them.
        lines = sorted({_explain(document, detail) for detail in error.errors(include_url=False)})
        raise BadConfigError("\n".join(text for _, text in lines)) from None
    made = _Paths(document, folder).made_absolute(config).with_secrets(document.secrets)
    return made.with_places(_engine_places(document, made))


def _engine_places(document: Document, config: ServiceConfig) -> dict[tuple[str, str], str]:
    places: dict[tuple[str, str], str] = {}
    for name, engine in config.engines.items():
        places[name, ""] = str(document.place_of(("engines", name)))
        for version in engine.versions:
            places[name, version] = str(document.place_of(("engines", name, "versions", version)))
    return places


def known_keys(path: KeyPath) -> list[str]:
    """The keys that the schema knows in the section at `path`."""
    section: type[BaseModel] | None = ServiceConfig
    names = iter(path)
    for name in names:
        field = section.model_fields.get(str(name)) if section else None
        if field is None:
            return []
        found = _section_in(field.annotation)
        if name in ("engines", "versions"):
            next(names, None)  # the name of an engine or a version is no key of the schema
        section = found
    return sorted(section.model_fields) if section else []


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _section_in(argument)
        if found is not None:
            return found
    return None


def _explain(document: Document, detail: ErrorDetails) -> tuple[Place, str]:
    path = _written(document, tuple(part for part in detail["loc"] if part != "[key]"))
    place = document.place_of(path)
    return place, f"{place}: {'.'.join(map(str, path))}: {_message(document, path, detail)}"


def _written(document: Document, path: KeyPath) -> KeyPath:
    """Where a key of a version is written: in the version, or in the engine that it is taken from."""
    taken_from = path[:2] + path[4:]
    is_inherited = path[2:3] == ("versions",) and path not in document.lines and taken_from in document.lines
    return taken_from if is_inherited else path


def _message(document: Document, path: KeyPath, detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return _unknown_key(path)
    if detail["type"] == "missing":
        return f"is required: add `{path[-1]}`"
    text = PLAIN.get(detail["type"], detail["msg"][0].lower() + detail["msg"][1:])
    text = text.removeprefix("value error, ")
    if detail["type"] == "string_type":
        text += ": put it in quotes"
    return f"{text}{_seen(document, path, detail['input'])}"


def _seen(document: Document, path: KeyPath, value: object) -> str:
    """The value seen, unless it is or holds a secret: a list or a mapping is never shown."""
    if isinstance(value, (dict, list)):
        return ""
    if any(path == secret[: len(path)] or secret == path[: len(secret)] for secret in document.secrets):
        return " (the value comes from the environment)"
    shown = repr(value) if isinstance(value, str) else document.texts.get(path, repr(value))
    return f", not {shown}"


def _unknown_key(path: KeyPath) -> str:
    known = known_keys(path[:-1])
    wrong = str(path[-1])
    near = difflib.get_close_matches(wrong, known, n=len(known) or 1, cutoff=0.5)
    if near:
        meant = min(near, key=lambda key: (_slips(wrong, key), abs(len(wrong) - len(key))))
        return f"unknown key: did you mean `{meant}`?"
    return f"unknown key: known here are {', '.join(known)}"


def _slips(wrong: str, key: str) -> int:
    """How many letters were lost, added, swapped or mistaken between the two."""
    before: list[int] = []
    row = list(range(len(key) + 1))
    for at, letter in enumerate(wrong):
        before, above, row = row, before, [at + 1]
        for to, other in enumerate(key):
            cost = min(before[to + 1] + 1, row[to] + 1, before[to] + (letter != other))
            if at and to and letter == key[to - 1] and wrong[at - 1] == other:
                cost = min(cost, above[to - 1] + 1)
            row.append(cost)
    return row[-1]


class _Paths:
    """Makes the paths of a configuration absolute; knows where each is written."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder

    def made_absolute(self, config: ServiceConfig) -> ServiceConfig:
        engines = {name: self._of_engine(one, ("engines", name)) for name, one in config.engines.items()}
        tls = config.tls and config.tls.model_copy(
            update={
                name: getattr(config.tls, name) and self._absolute(getattr(config.tls, name), ("tls", name))
                for name in ("certificate", "key", "client_ca")
            }
        )
        return config.model_copy(update={"engines": engines, "tls": tls})

    def _of_engine(self, engine: EngineConfig, path: KeyPath) -> EngineConfig:
        update: dict[str, Any] = {
            "wrapper": engine.wrapper and self._wrapper(engine, (*path, "wrapper")),
            "python": self._program(engine.python, (*path, "python")),
            "versions": {
                key: self._of_engine(one, (*path, "versions", key)) for key, one in engine.versions.items()
            },
        }
        return engine.model_copy(update=update).begun_in(str(self._folder))

    def _wrapper(self, engine: EngineConfig, key: KeyPath) -> str:
        path = self._absolute(engine.wrapper, key)
        if "/" in engine.wrapper:
            return path
        # As the engine's own process will look for its libraries.
        return find_library(engine.wrapper, self._folder, {**os.environ, **engine.environment})

    def _program(self, path: str, key: KeyPath) -> str:
        return self._absolute(path, key) if "/" in path else path

    def _absolute(self, path: str, key: KeyPath) -> str:
        try:
            # Not resolve(): an interpreter of a virtual environment is a link, and following it loses the
            # environment.
            return os.path.normpath(self._folder / Path(path).expanduser())
        except RuntimeError:
            key = _written(self._document, key)
            place = f"{self._document.place_of(key)}: {'.'.join(map(str, key))}"
            user = Path(path).parts[0]
            raise BadConfigError(f"{place}: there is no user `{user}`: write the whole path") from None

"""Finds the wrapper class in an author's file.

Responsible for imports and for four-line refusals that name file and cure. Refuses to run anything of
the author's but the module's own top level. A wrapper written for AIGES is one too: see loader.compat.aiges.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

from loader.compat.aiges.importing import make_importable
from loader.wrapper import Wrapper

RESERVED = ("exec_batch", "write_batch")


class BadWrapper(Exception):  # noqa: N818  the name of the error in errors.def
    """The file cannot be used as a wrapper; the text says why and what to do."""


def load_wrapper(directory: Path, entry: str) -> type[Wrapper]:
    """The wrapper class of `directory/entry`. Raises: BadWrapper, or what the module raises."""
    path = directory / entry
    if not path.is_file():
        raise BadWrapper(f"{path} does not exist: set `entry` in engine.yaml to the wrapper's file")
    module = import_file(directory, path)
    found = find_class(module, path)
    check_class(found, path)
    return found


def import_file(directory: Path, path: Path) -> ModuleType:
    """The file as a module; its own folder is importable, the current folder is not."""
    folder = str(directory)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    make_importable()
    name = path.stem if path.stem not in sys.modules else f"loader_wrapper_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadWrapper(f"{path} is not a Python file: `entry` has to end in .py for kind: python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def find_class(module: ModuleType, path: Path) -> type[Wrapper]:
    """`wrapper = X` where the module says so, else its only own subclass of Wrapper."""
    chosen = vars(module).get("wrapper")
    if inspect.isclass(chosen) and issubclass(chosen, Wrapper):
        return chosen
    own = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Wrapper) and value.__module__ == module.__name__
    ]
    if not own and (aiges := aiges_engine(module, path)) is not None:
        return aiges
    if chosen is not None and not isinstance(chosen, ModuleType):
        raise BadWrapper(
            f"{path}: `wrapper` is {chosen!r}, not a class derived from loader.Wrapper: "
            "write `wrapper = MyEngine` (the class, not an instance)"
        )
    if len(own) == 1:
        return own[0]
    names = ", ".join(sorted(value.__name__ for value in own)) or "none"
    raise BadWrapper(
        f"{path}: found {names} derived from loader.Wrapper where exactly one is needed: "
        "define one class, or name it with `wrapper = MyEngine` at the end of the file"
    )


def aiges_engine(module: ModuleType, path: Path) -> type[Wrapper] | None:
    """The engine made of a wrapper for AIGES, if that is what the module holds. Raises: BadWrapper."""
    from loader.compat.aiges.binding import CannotBindError
    from loader.compat.aiges.engine import engine_of

    try:
        return engine_of(module)
    except CannotBindError as error:
        raise BadWrapper(f"{path}: {error}") from None


def check_class(found: type[Wrapper], path: Path) -> None:
    """Raises: BadWrapper for a class that could not serve any call, or that has bad declarations."""
    name = found.__name__
    if not has(found, "exec") and not has(found, "create"):
        raise BadWrapper(
            f"{path}: {name} defines neither exec nor create, so no call could ever reach it: "
            "define exec(self, request), create(self, params) or both"
        )
    reserved = [one for one in RESERVED if has(found, one)]
    if reserved:
        raise BadWrapper(
            f"{path}: {name} defines {reserved[0]}, and this version of engine-loader does not batch "
            "across sessions yet: remove it; exec and write serve the same calls one by one"
        )
    if has(found, "load_resource") is not has(found, "unload_resource"):
        raise BadWrapper(
            f"{path}: {name} defines only one of load_resource and unload_resource: what is loaded for one user "
            "has to be unloaded again: define both, or neither"
        )
    try:
        found.describe()
    except (TypeError, ValueError, AttributeError) as error:
        raise BadWrapper(f"{path}: the declarations of {name} are not valid: {error}") from error


def has(found: type[Wrapper], method: str) -> bool:
    """The class defines that method."""
    return callable(getattr(found, method, None))

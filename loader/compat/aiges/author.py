"""An AIGES wrapper as its author wrote it: which flavour and era, which functions, how each is called.

Looks at a module once, at load; makes the author's object once, at init. Refuses to know calls and sessions.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from loader.compat.aiges.binding import LAYOUTS, Binding, Role, bind, lacks_self
from loader.compat.aiges.receivers import callback
from loader.wrapper import Error, Wrapper

MISSPELT: Final = {"wrapperDestory": "wrapperDestroy"}  # so it is called in the first generation
STARTING: Final = ("wrapperOnceExec", "wrapperOnceExecAsync", "wrapperCreate")
# Where a method of these stands it was not overridden.
BASES: Final = ("loader.compat.aiges.base", "aiges.sdk", "builtins")
OURS: Final = ("loader.", "aiges")  # modules that are no author's
CALLING: Final = {"aiges_embed", "aiges.dto", "aiges.callback"}  # modules with a callback
# What the go-plugin server of AIGES passes to the class, where it takes it.
ARGUMENTS: Final = {"legacy": False, "is_aipaas": True, "keep_schema_default_value": True}
TEXT_LIMIT_BYTES: Final = 1900  # what follows must fit the host's room


@dataclass(slots=True)
class Author:
    """The functions of one wrapper, by AIGES's names."""

    module: ModuleType
    class_: type | None  # None: functions of the module
    bindings: dict[str, Binding] = field(default_factory=dict)
    made: object = None  # of the class

    @property
    def flavour(self) -> str:
        """functions, class (derived from nothing) or sdk (from WrapperBase)."""
        if self.class_ is None:
            return "functions"
        return "sdk" if hasattr(self.class_, "__mappings__") else "class"

    @property
    def takes_dictionaries(self) -> bool:
        """Its functions are the module's, as in the first generation, which had no classes for data."""
        return self.class_ is None

    @property
    def era(self) -> str:
        """The generation of its signatures: v1, E0, E1, E2 or E3."""
        if self.class_ is None:
            return "v1"
        found = (self.bindings.get(name) for name in STARTING)
        first = next(one for one in found if one is not None)
        if first.takes(Role.RESULTS):
            return "E0"
        if first.takes(Role.TAG):
            return "E3" if first.takes(Role.PERSONAL) else "E2"
        return "E1"

    def start(self) -> None:
        """Makes the author's object; from here on functions are called on it. Raises: what it raises."""
        if self.class_ is not None:
            self.adopt(self.class_(**_accepted(self.class_)))

    def adopt(self, made: object) -> None:
        """From here on functions are called on that object."""
        self.made = made
        for name, binding in self.bindings.items():
            if name in getattr(made, "__dict__", {}):
                self.bindings[name] = bind(name, getattr(made, name))
            elif isinstance(binding.function, MethodType) and binding.function.__self__ is PLACEHOLDER:
                self.bindings[name] = replace(binding, function=getattr(made, name))

    def has(self, name: str) -> bool:
        """The wrapper defines it."""
        return name in self.bindings

    def does(self, name: str) -> bool:
        """The wrapper defines it, with more in it than `pass` or `raise NotImplementedError`."""
        binding = self.bindings.get(name)
        return binding is not None and not _is_stub(binding.function)

    def call(
        self, name: str, failed: int, values: Mapping[Role, Any], log: Callable[[str, int], None]
    ) -> Any:
        """What the wrapper's function returns; None where it has none.

        Raises: Error with the code `failed` where it raises anything; `log` gets the traceback.
        """
        binding = self.bindings.get(name)
        if binding is None:
            return None
        try:
            return binding(values)
        except Error:
            raise
        except BaseException as raised:  # noqa: BLE001  user code: SystemExit must not end the host
            raise self.failed(failed, raised, log) from None

    def failed(self, failed: int, raised: BaseException, log: Callable[[str, int], None]) -> Error:
        """What its caller gets for an exception; `log` gets the traceback."""
        log("the wrapper raised\n" + "".join(traceback.format_exception(raised)), 40)
        return error_of(failed, f"{type(raised).__name__}: {_text(raised)}", -1)

    def refused(self, failed: int, code: int, otherwise: str = "") -> Error:
        """What its caller gets for a code that the wrapper returned: wrapperError's text."""
        text = ""
        binding = self.bindings.get("wrapperError")
        if binding is not None:
            try:
                said = binding({Role.CODE: code})
                text = "" if said is None else str(said)
            except Exception as raised:  # noqa: BLE001  user code
                text = f"wrapperError raised {type(raised).__name__}"
        return error_of(failed, text or otherwise, code)

    def uses_callback(self) -> bool:
        """Somewhere in its file a function names `callback`; or in that of a base, of a part of the object
        that was made, or of what the file imports, where that has AIGES's callback."""
        others = (one for one in self._other_modules() if _has_callback(one))
        return any("callback" in code.co_names for one in (self.module, *others) for code in _code_of(one))

    def _other_modules(self) -> Iterator[ModuleType]:
        things = [*vars(self.module).values(), *getattr(self.class_, "__mro__", ())]
        things += getattr(self.made, "__dict__", {}).values()
        names = {one.__name__ if isinstance(one, ModuleType) else _home_of(one) for one in things}
        found = (sys.modules.get(name) for name in names - {self.module.__name__})
        return (one for one in found if one is not None)


# Stands for the author's object until there is one.
PLACEHOLDER: Final = object()


def find_author(module: ModuleType) -> Author | None:
    """The AIGES wrapper in a module, or None where there is none. Raises: CannotBindError."""
    class_ = vars(module).get("Wrapper")
    if inspect.isclass(class_):
        if issubclass(class_, Wrapper) or not _implements(class_):
            return None
        return Author(module, class_, dict(_class_bindings(class_)))
    functions = {name: one for name, one in vars(module).items() if callable(one)}
    if not any(name in functions for name in STARTING):
        return None
    return Author(module, None, dict(_function_bindings(functions)))


def error_of(failed: int, text: str, code: int) -> Error:
    """An error as AIGES tells it: `failed` says the operation, `code` what the wrapper returned."""
    shown = text.encode("utf-8", "replace")[:TEXT_LIMIT_BYTES].decode("utf-8", "ignore")
    return Error(failed, f"{shown};code={code}")


def _implements(class_: type) -> bool:
    return any(_is_own(class_, name) for name in STARTING)


def _is_own(class_: type, name: str) -> bool:
    owner = next((one for one in class_.__mro__ if name in vars(one)), None)
    return owner is not None and owner.__module__ not in BASES


def _spellings() -> Iterator[tuple[str, str]]:
    yield from MISSPELT.items()
    yield from ((name, name) for name in LAYOUTS)


def _class_bindings(class_: type) -> Iterator[tuple[str, Binding]]:
    for spelt, name in _spellings():
        if not _is_own(class_, spelt):
            continue
        found = inspect.getattr_static(class_, spelt)
        if isinstance(found, staticmethod | classmethod):
            yield name, bind(name, getattr(class_, spelt))
        elif isinstance(found, FunctionType) and lacks_self(name, found):
            yield name, bind(name, found)
        elif callable(found):
            yield name, bind(name, MethodType(found, PLACEHOLDER))


def _function_bindings(functions: Mapping[str, Any]) -> Iterator[tuple[str, Binding]]:
    for spelt, name in _spellings():
        if spelt in functions:
            yield name, bind(name, functions[spelt], is_module_function=True)


def _accepted(class_: type) -> dict[str, bool]:
    try:
        parameters = inspect.signature(class_).parameters.values()
    except (TypeError, ValueError):
        return {}
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return dict(ARGUMENTS)
    names = {one.name for one in parameters}
    return {name: value for name, value in ARGUMENTS.items() if name in names}


def _is_stub(function: Any) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return isinstance(code, CodeType) and not set(code.co_names) - {"NotImplementedError"}


def _home_of(thing: object) -> str:
    name = getattr(thing, "__module__", "")
    return name if isinstance(name, str) else ""


def _has_callback(module: ModuleType) -> bool:
    if module.__name__.startswith(OURS):
        return False
    modules = {one.__name__ for one in vars(module).values() if isinstance(one, ModuleType)}
    return any(one is callback for one in vars(module).values()) or not modules.isdisjoint(CALLING)


def _code_of(module: ModuleType) -> Iterator[CodeType]:
    waiting = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
    seen = set[int]()  # a class may name itself, or one that names it
    for one in waiting:
        if inspect.isclass(one):
            if id(one) not in seen:
                seen.add(id(one))
                waiting.extend(vars(one).values())
        else:
            code = getattr(getattr(one, "__func__", one), "__code__", None)
            if isinstance(code, CodeType):
                yield from _with_inner(code)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _text(raised: BaseException) -> str:
    try:
        return str(raised)
    except Exception:  # noqa: BLE001  user code: its __str__ may fail
        return "(its text could not be made)"

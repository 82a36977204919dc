"""How each function of a wrapper is called: decided once, at load, from its signature alone.

The signatures of AIGES changed four times, the order of arguments too. So: by the parameter's name, else by
its place in the signature of that many parameters that was published. User code is never called to find out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Role(StrEnum):
    """What AIGES passes."""

    CONFIG = "config"
    PARAMS = "params"
    DATA = "reqData"
    TAG = "usrTag"
    SID = "sid"
    PERSONAL = "persId"
    HANDLE = "handle"
    RESULTS = "respData"
    IDS = "psrIds"
    ID_COUNT = "psrCnt"
    ERROR = "errNum"
    CODE = "ret"


class CannotBindError(Exception):
    """A function asks for something that AIGES does not pass; the text names both."""


Roles = tuple[Role, ...]
R = Role

# By each method: what it may be passed, first in its newest published form, then in those before it.
LAYOUTS: Final[dict[str, tuple[Roles, ...]]] = {
    "wrapperInit": ((R.CONFIG,),),
    "wrapperFini": ((),),
    "wrapperError": ((R.CODE,),),
    "wrapperOnceExec": (
        (R.PARAMS, R.DATA, R.TAG, R.PERSONAL),
        (R.TAG, R.PARAMS, R.DATA, R.RESULTS, R.IDS, R.ID_COUNT),
    ),
    "wrapperOnceExecAsync": ((R.PARAMS, R.DATA, R.TAG, R.PERSONAL),),
    "wrapperCreate": (
        (R.PARAMS, R.SID, R.PERSONAL, R.TAG),
        (R.TAG, R.PARAMS, R.IDS, R.ID_COUNT, R.ERROR),
    ),
    "wrapperWrite": ((R.HANDLE, R.DATA, R.SID),),
    "wrapperRead": ((R.HANDLE, R.SID),),
    "wrapperDestroy": ((R.HANDLE, R.SID),),
    "wrapperLoadRes": ((R.DATA, R.PERSONAL),),
    "wrapperUnloadRes": ((R.PERSONAL,),),
}
# Positional forms of module functions, where they differ from a class's with as many arguments.
FUNCTION_LAYOUTS: Final[dict[str, Roles]] = {
    "wrapperCreate": (R.TAG, R.PARAMS, R.IDS, R.ID_COUNT, R.ERROR),
    "wrapperRead": (R.HANDLE, R.RESULTS),
}

NAMES: Final[dict[str, Role]] = {
    "config": R.CONFIG, "cfg": R.CONFIG, "conf": R.CONFIG,
    "params": R.PARAMS, "param": R.PARAMS, "parameters": R.PARAMS,
    "reqdata": R.DATA, "req": R.DATA, "reqs": R.DATA, "request": R.DATA, "data": R.DATA, "datas": R.DATA,
    "inputdata": R.DATA, "perdata": R.DATA,
    "usrtag": R.TAG, "usertag": R.TAG, "tag": R.TAG,
    "sid": R.SID, "sessionid": R.SID,
    "persid": R.PERSONAL, "psrid": R.PERSONAL, "perid": R.PERSONAL, "patchid": R.PERSONAL,
    "resid": R.PERSONAL, "resourceid": R.PERSONAL,
    "handle": R.HANDLE, "hdl": R.HANDLE, "handler": R.HANDLE,
    "respdata": R.RESULTS, "resp": R.RESULTS, "response": R.RESULTS,
    "psrids": R.IDS, "persids": R.IDS,
    "psrcnt": R.ID_COUNT, "perscnt": R.ID_COUNT,
    "errnum": R.ERROR,
    "ret": R.CODE, "code": R.CODE, "errcode": R.CODE, "errorcode": R.CODE, "errno": R.CODE,
}  # fmt: skip

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Binding:
    """One function of a wrapper and what it is passed."""

    name: str
    function: Callable[..., Any]
    positional: Roles
    keywords: tuple[tuple[str, Role], ...] = ()

    def __call__(self, values: Mapping[Role, Any]) -> Any:
        """Calls it. Raises: what it raises."""
        named = {name: values[role] for name, role in self.keywords}
        return self.function(*[values[role] for role in self.positional], **named)

    def takes(self, role: Role) -> bool:
        """It is passed that."""
        return role in self.positional or any(role is one for _, one in self.keywords)

    def __str__(self) -> str:
        words = [*self.positional, *(f"{name}={role}" for name, role in self.keywords)]
        return f"{self.name}({', '.join(words)})"


def bind(name: str, function: Callable[..., Any], *, is_module_function: bool = False) -> Binding:
    """How to call `function`, which implements `name`. Raises: CannotBindError."""
    signature = signature_of(function)
    if signature is None:  # C code: there is nothing to read, so the newest form
        return Binding(name, function, _without_sid(name))
    return _Plan(name, list(signature.parameters.values()), is_module_function).binding(function)


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """What it takes; through a decorator that takes anything, what the decorated one does."""
    try:
        outer = inspect.signature(function, follow_wrapped=False)
        takes_anything = any(one.kind is one.VAR_POSITIONAL for one in outer.parameters.values())
        return inspect.signature(function) if takes_anything else outer
    except (TypeError, ValueError):
        return None


def lacks_self(name: str, function: Callable[..., Any]) -> bool:
    """A function in a class that was written without `self`, as the documentation of AIGES once did."""
    signature = signature_of(function)
    if signature is None:
        return False
    parameters = list(signature.parameters.values())
    if not parameters:
        return True
    first = parameters[0]
    return first.kind in POSITIONAL and role_of(name, first.name) is not None


def role_of(method: str, parameter: str) -> Role | None:
    """What a parameter of that name means in that method."""
    name = parameter.replace("_", "").lower()
    role = NAMES.get(name)
    if method == "wrapperError" and role is R.ERROR:
        role = R.CODE
    if method == "wrapperOnceExecAsync" and role is R.SID:
        role = R.TAG  # in most versions the tag was called so
    return role if any(role in layout for layout in layouts(method)) else None


def layouts(method: str) -> tuple[Roles, ...]:
    """Every published form of a method."""
    own = FUNCTION_LAYOUTS.get(method)
    return LAYOUTS[method] + ((own,) if own else ())


def _without_sid(method: str) -> Roles:
    newest = LAYOUTS[method][0]
    return newest if method == "wrapperCreate" else tuple(one for one in newest if one is not R.SID)


class _Plan:
    """The roles of one signature's parameters."""

    def __init__(self, method: str, parameters: Sequence[inspect.Parameter], is_function: bool) -> None:
        self._method = method
        self._parameters = parameters
        self._places = [one for one in parameters if one.kind in POSITIONAL]
        self._layout = self._layout_for(len(self._places), is_function)
        self._roles = self._named_roles()
        self._positional: list[Role] = []
        self._keywords: list[tuple[str, Role]] = []

    def binding(self, function: Callable[..., Any]) -> Binding:
        """Raises: CannotBindError."""
        is_contiguous = True
        for place, parameter in enumerate(self._places):
            role = self._role_at(place, parameter)
            if role is None:
                is_contiguous = False  # an optional one of the author's own keeps its default
            elif is_contiguous:
                self._positional.append(role)
            else:
                self._keywords.append((parameter.name, role))
        self._add_the_rest(is_contiguous)
        return Binding(self._method, function, tuple(self._positional), tuple(self._keywords))

    def _layout_for(self, count: int, is_function: bool) -> Roles:
        own = FUNCTION_LAYOUTS.get(self._method)
        if is_function and own is not None:
            return own
        return max(LAYOUTS[self._method], key=lambda one: (self._agreeing(one), len(one) >= count))

    def _agreeing(self, layout: Roles) -> int:
        """Places whose parameter's name says what that layout has there."""
        named = [role_of(self._method, one.name) for one in self._places]
        return sum(one is other for one, other in zip(named, layout, strict=False))

    def _named_roles(self) -> dict[str, Role]:
        roles: dict[str, Role] = {}
        for one in self._parameters:
            role = role_of(self._method, one.name)
            if role is not None and role not in roles.values():
                roles[one.name] = role
        return roles

    def _role_at(self, place: int, parameter: inspect.Parameter) -> Role | None:
        named = self._roles.get(parameter.name)
        if named is not None or parameter.default is not parameter.empty:
            return named
        free = [role for role in self._layout if role not in self._roles.values()]
        natural = self._layout[place] if place < len(self._layout) else None
        role = natural if natural in free else next(iter(free), None)
        if role is None:
            raise CannotBindError(
                f"{self._method} asks for `{parameter.name}`, and AIGES passes "
                f"{', '.join(self._layout) or 'nothing'}: remove it or give it a default"
            )
        self._roles[parameter.name] = role
        return role

    def _add_the_rest(self, is_contiguous: bool) -> None:
        """What *args and **kwargs get, and parameters that are only taken by name."""
        kinds = {one.kind for one in self._parameters}
        for one in self._parameters:
            if one.kind is not one.KEYWORD_ONLY:
                continue
            role = self._role_at(len(self._positional), one)
            if role is not None:
                self._keywords.append((one.name, role))
        rest = [role for role in _without_sid(self._method) if role not in self._roles.values()]
        if inspect.Parameter.VAR_POSITIONAL in kinds and is_contiguous:
            self._positional.extend(rest)
        elif inspect.Parameter.VAR_KEYWORD in kinds:
            self._keywords.extend((str(role), role) for role in rest)

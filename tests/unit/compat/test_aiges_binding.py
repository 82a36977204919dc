"""How AIGES wrappers' functions are called is read from their signatures, by name and then by place."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from loader.compat.aiges.binding import CannotBindError, bind, lacks_self


def called_as(name: str, function: Any, **said: Any) -> str:
    return str(bind(name, function, **said))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda params, reqData: 0, "params, reqData"),
        (lambda params, reqData, usrTag="": 0, "params, reqData, usrTag"),
        (lambda params, reqData, usrTag="", persId=0: 0, "params, reqData, usrTag, persId"),
        (lambda params, reqData, persId: 0, "params, reqData, persId"),
        (lambda params, reqData, usrTag, psrID: 0, "params, reqData, usrTag, persId"),
        (lambda params, req, user_tag: 0, "params, reqData, usrTag"),
        (
            lambda usrTag, params, reqData, respData, psrIds, psrCnt: 0,
            "usrTag, params, reqData, respData, psrIds, psrCnt",
        ),
        (lambda a, b: 0, "params, reqData"),
        (lambda a, b, c, d: 0, "params, reqData, usrTag, persId"),
        (lambda a, b, c, d, e, f: 0, "usrTag, params, reqData, respData, psrIds, psrCnt"),
        (lambda reqData, a: 0, "reqData, params"),
        (lambda *args: 0, "params, reqData, usrTag, persId"),
        (lambda *args, **kwargs: 0, "params, reqData, usrTag, persId"),
        (lambda params, *rest: 0, "params, reqData, usrTag, persId"),
        (lambda params, reqData, **named: 0, "params, reqData, usrTag=usrTag, persId=persId"),
        (lambda params, reqData, beam=4, persId=0: 0, "params, reqData, persId=persId"),
        (lambda params, reqData, *, usrTag: 0, "params, reqData, usrTag=usrTag"),
    ],
)
def test_one_shot_signatures(function: Any, expected: str) -> None:
    """Every published order, names in any spelling, places where names say nothing."""
    assert called_as("wrapperOnceExec", function) == f"wrapperOnceExec({expected})"


@pytest.mark.parametrize(
    ("name", "function", "expected"),
    [
        ("wrapperCreate", lambda params, sid: 0, "params, sid"),
        ("wrapperCreate", lambda params, sid, userTag="", persId=0: 0, "params, sid, usrTag, persId"),
        ("wrapperCreate", lambda params, sid, persId=0, usrTag="": 0, "params, sid, persId, usrTag"),
        ("wrapperCreate", lambda params, sid, persId: 0, "params, sid, persId"),
        ("wrapperWrite", lambda handle, req, sid: 0, "handle, reqData, sid"),
        ("wrapperWrite", lambda handle, datas: 0, "handle, reqData"),
        ("wrapperWrite", lambda h, d: 0, "handle, reqData"),
        ("wrapperRead", lambda handle: 0, "handle"),
        ("wrapperRead", lambda handle, sid: 0, "handle, sid"),
        ("wrapperOnceExecAsync", lambda params, reqData, sid: 0, "params, reqData, usrTag"),
        ("wrapperError", lambda errNum: "", "ret"),
        ("wrapperError", lambda x: "", "ret"),
        ("wrapperInit", lambda: 0, ""),
        ("wrapperInit", lambda c: 0, "config"),
        ("wrapperLoadRes", lambda reqData, patch_id: 0, "reqData, persId"),
        ("wrapperUnloadRes", lambda resId: 0, "persId"),
    ],
)
def test_signatures_of_the_other_methods(name: str, function: Any, expected: str) -> None:
    """Where two eras differ in the order, the names decide."""
    assert called_as(name, function) == f"{name}({expected})"


def test_module_functions_have_an_order_of_their_own() -> None:
    """The first generation began with the tag, and read into a list."""
    create = called_as("wrapperCreate", lambda a, b, c, d, e: "", is_module_function=True)
    assert create == "wrapperCreate(usrTag, params, psrIds, psrCnt, errNum)"
    assert (
        called_as("wrapperRead", lambda a, b: 0, is_module_function=True) == "wrapperRead(handle, respData)"
    )


def test_a_decorator_that_takes_anything_is_looked_through() -> None:
    """functools.wraps tells the decorated signature; a decorator with its own parameters has its own."""

    def exec_(params: Any, reqData: Any) -> None: ...

    @functools.wraps(exec_)
    def open_(*args: Any, **kwargs: Any) -> None: ...

    @functools.wraps(exec_)
    def own(params: Any, reqData: Any, usrTag: Any) -> None: ...

    assert called_as("wrapperOnceExec", open_) == "wrapperOnceExec(params, reqData)"
    assert called_as("wrapperOnceExec", own) == "wrapperOnceExec(params, reqData, usrTag)"


def test_c_code_is_called_in_the_newest_form() -> None:
    """There is no signature to read, and nothing is tried out."""
    assert called_as("wrapperWrite", {}.update) == "wrapperWrite(handle, reqData)"


def test_what_cannot_be_passed_is_refused() -> None:
    """A required parameter beyond what AIGES has: named, with the cure."""
    with pytest.raises(CannotBindError, match="asks for `colour`, and AIGES passes params, reqData"):
        bind("wrapperOnceExec", lambda params, reqData, usrTag, persId, colour: 0)


def test_functions_without_self_are_seen() -> None:
    """No parameter, or a first one that AIGES passes."""
    assert lacks_self("wrapperFini", lambda: 0)
    assert lacks_self("wrapperInit", lambda config: 0)
    assert not lacks_self("wrapperFini", lambda self: 0)
    assert not lacks_self("wrapperInit", lambda cls, config: 0)
    assert not lacks_self("wrapperInit", lambda *args: 0)

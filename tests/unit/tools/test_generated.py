"""The error tree: every row of the table is a class that says who must act."""

from __future__ import annotations

import pytest

from loader import errors


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_each_error_says_who_must_act(code: int) -> None:
    """The range of a code, its actor and its base agree."""
    cls = errors.BY_CODE[code]
    base = {1: errors.ClientError, 2: errors.AuthorError, 3: errors.OperatorError, 4: errors.DefectError}[
        code // 1000
    ]
    assert issubclass(cls, base)
    assert cls.code == code
    assert cls.actor == base.actor
    assert cls.retry in ("no", "same", "elsewhere")


def test_an_unknown_code_is_still_an_error() -> None:
    """A newer loader may send codes that this client does not know."""
    assert errors.error_class(9999) is errors.LoaderError


def test_an_engines_own_error_travels_beside_ours() -> None:
    """The engine's code and text are kept apart from the message."""
    error = errors.EngineError("it failed", engine_code=7, engine_message="no model")
    assert (str(error), error.engine_code, error.engine_message, error.code) == (
        "it failed",
        7,
        "no model",
        2001,
    )

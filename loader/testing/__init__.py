"""Run a Python wrapper inside a test, with production's own conversions and dispatch, in one process.

    from loader.testing import open_wrapper

    def test_echo() -> None:
        with open_wrapper("wrappers/echo_py") as engine:
            [result] = engine.exec({"data": b"x"})
            assert result["data"] == b"x"

What it does not do: validate inputs and parameters against the declarations, limit, time out or
isolate. The loader does that; start one for such tests.
"""

from __future__ import annotations

from loader.testing.engine import EngineFailure, TestEngine, TestSession, open_wrapper

__all__ = ["EngineFailure", "TestEngine", "TestSession", "open_wrapper"]

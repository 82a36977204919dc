"""A wrapper that misbehaves before the first session and after the last, and libraries that are no wrappers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running import until
from scene import KIND, LIBRARIES, LIMIT_S, assert_nothing_left, hostile, running_marked

from loader.client import Client
from loader.errors import LoaderError

BROKEN = {
    "wrong_major": "ABI",
    "missing_entry": "fini",
    "truncated": "48",
    "not_a_wrapper": "loader_wrapper",
    "unresolved": "a_function_that_nobody_defines",
    "null_table": "NULL",
    "missing_destroy": "destroy",
    "bad_describe": "describe",
    "mangled": "extern",
}


@pytest.mark.parametrize(
    ("behavior", "text"),
    [
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("exit", "exit code 0"),
        ("throw", "thrown by the hostile wrapper"),
        ("fail", "as you asked"),
        ("loop", "init did not"),
    ],
)
def test_an_init_that_fails_is_told_and_given_up(tmp_path: Path, behavior: str, text: str) -> None:
    """The engine is failed with its reason; calls of it are refused at once; the neighbour serves."""
    restart = {"backoff_s": 0.01, "intensity": 1}
    with hostile(tmp_path, behavior, "init", serves_again=False, restart=restart, init_timeout_s=1) as scene:
        status = until(lambda: (s := scene.running.instance("mean")).state == "failed" and s, "given up")
        assert text in status.error
        assert scene.provoke("exec")[1] in {"ENGINE_UNAVAILABLE", "INIT_FAILED"}


@pytest.mark.parametrize("behavior", ["segfault", "abort", "exit", "throw", "loop"])
def test_a_fini_that_misbehaves_does_not_hold_the_loader(tmp_path: Path, behavior: str) -> None:
    """The loader ends with 0 and leaves nothing."""
    with hostile(tmp_path, behavior, "fini") as scene:
        assert scene.provoke("exec")[1] == ""


def engine_of(running: Any, name: str) -> Any:
    """The status of one engine's first instance once it is given up."""
    return until(
        lambda: (s := running.instance(name)).state == "failed" and s, f"{name} is given up", LIMIT_S
    )


def test_libraries_that_break_the_abi_are_refused_by_name(tmp_path: Path) -> None:
    """Each with its file and what is wrong with it, and none keeps a neighbour from serving."""
    engines: dict[str, Any] = {name: {"wrapper": str(LIBRARIES / f"{name}.so")} for name in BROKEN}
    config = {"engines": engines | {"kind": KIND}}
    with running_marked(tmp_path, config) as (running, mark):
        with Client(running.ready["grpc"]) as client:
            for name, text in BROKEN.items():
                error = engine_of(running, name).error
                assert f"{name}.so" in error
                assert text in error
                with pytest.raises(LoaderError):
                    client.exec(name, {"x": "y"}, timeout_s=LIMIT_S)
            [result] = client.exec("kind", {"x": "y"}, timeout_s=LIMIT_S)
            assert result["x"] == "y"
        running.process.terminate()
        assert running.process.wait(LIMIT_S) == 0
        assert_nothing_left(mark)

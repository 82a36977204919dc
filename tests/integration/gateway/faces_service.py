"""The service whose HTTP faces are tested: its engines, and its configuration as text."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENGINES = HERE / "engines"
WRAPPERS = HERE.parents[2] / "wrappers"
LIBRARY = HERE.parents[1] / "cpp/host/aiges/echo.c"
AIGES = HERE.parent / "aiges" / "python_wrappers"


def engines() -> dict[str, Any]:
    """One of each kind."""
    soon = {"restart": {"backoff_s": 0.01, "intensity": 100}}
    brief = {"slots": 1, "call_timeout_ms": 1500, "hang_grace_ms": 0, "admission_wait_ms": 300}
    return {
        "actor": {"wrapper": str(ENGINES / "actor.py"), "slots": 16, "threads": 16, **soon},
        "brief": {"wrapper": str(ENGINES / "actor.py"), **brief, **soon},
        "typed": {"wrapper": str(ENGINES / "typed.py"), "slots": 4},
        "reader": {"wrapper": str(ENGINES / "reader.py"), "slots": 4},
        "sdk": {"wrapper": str(AIGES / "e3_sdk.py"), "slots": 4},
        "echo": {"wrapper": str(WRAPPERS / "echo_c"), "slots": 64},
        "library": {"wrapper": "libwrapper.so", "slots": 4},
    }


def build_library(folder: Path) -> None:
    """An AIGES library that echoes, into the folder of the configuration."""
    words = ["gcc", "-std=c11", "-shared", "-fPIC", "-D_GNU_SOURCE", str(LIBRARY), "-o", "libwrapper.so"]
    subprocess.run(words, cwd=folder, check=True, timeout=60)


def config(**over: Any) -> str:
    """The service."""
    keys = {"aiges": {"header_pass": ["appid"]}, "limits": {"message_bytes": 200_000}, "engines": engines()}
    return json.dumps(keys | over)

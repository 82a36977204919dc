"""What holds for every test: the package under test is the installed one, not this checkout."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

import loader

CHECKOUT = Path(__file__).resolve().parent.parent

# A background job of a script ignores SIGINT, and so would every command that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, str(Path(__file__).resolve().parent))  # tests import `consul_agent` by name
# How long an example takes says how busy the machine is, not whether the code is right. In continuous integration the
# examples are the same each time: what is judged there is a change, not luck.
settings.register_profile(
    "untimed",
    deadline=None,
    derandomize="LOADER_CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("untimed")

pytest_plugins = ["consul_agent", "zookeeper_server"]


def pytest_configure() -> None:
    """Tests prove what users get: `loader` is imported from where it was installed."""
    imported = Path(loader.__file__ or "").resolve()
    in_checkout = imported.is_relative_to(CHECKOUT / "loader")
    if in_checkout and not os.environ.get("LOADER_TEST_IN_PLACE"):
        raise RuntimeError(
            f"loader is imported from the checkout ({imported}), not from the installed package: "
            "run `make test`, or set LOADER_TEST_IN_PLACE=1 while developing"
        )

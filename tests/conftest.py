"""What holds for every test: the package under test is the installed one, not this checkout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import loader

CHECKOUT = Path(__file__).resolve().parent.parent

sys.path.insert(0, str(Path(__file__).resolve().parent))  # tests import `consul_agent` by name
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

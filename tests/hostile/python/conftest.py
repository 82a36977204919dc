"""The running loader of tests/integration/app and the scene of the hostile tests, importable by name."""

from __future__ import annotations

import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
for folder in (TESTS / "hostile", TESTS / "integration" / "app"):
    sys.path.insert(0, str(folder))

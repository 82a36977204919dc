"""The running loader of tests/integration/app and the scene of these tests, importable by name."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "integration" / "app"):
    sys.path.insert(0, str(folder))

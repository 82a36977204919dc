"""When a dead instance is started again: exponential backoff, and an intensity above which it is given up.

Pure: time comes in as a number.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loader.config.schema import RestartConfig


@dataclass(slots=True)
class RestartBudget:
    """The deaths of one instance in the last `period_s`."""

    deaths: deque[float] = field(default_factory=deque)

    def next_delay_s(self, config: RestartConfig, now_s: float) -> float | None:
        """Counts a death; the wait before the restart, or None when the instance is to be given up."""
        while self.deaths and self.deaths[0] <= now_s - config.period_s:
            self.deaths.popleft()
        self.deaths.append(now_s)
        if len(self.deaths) > config.intensity:
            return None
        # The exponent is bounded so that a long series cannot overflow a float.
        return min(config.backoff_s * 2.0 ** min(len(self.deaths) - 1, 60), config.backoff_max_s)

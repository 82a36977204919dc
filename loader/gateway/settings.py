"""What the HTTP faces are told by the configuration, or by the command line of `loader gateway`. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """Read anew for each request: a changed configuration counts at once."""

    is_on: bool = True
    takes_new: bool = True  # calls and sessions; else they are refused with 10110
    header_pass: frozenset[str] = frozenset()  # headers of AIGES requests that become parameters
    message_bytes: int = 4 << 20  # the largest body or frame
    ws_read_timeout_s: float = 15.0
    ws_session_timeout_s: float = 180.0

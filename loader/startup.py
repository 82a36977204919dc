"""What the start needs on its way: how long each stage took, threads for files, the data plane's options.

Knows no engines.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

from loader.certificates import is_reached_from_outside
from loader.gateway.settings import Settings

if TYPE_CHECKING:
    from loader.config import ServiceConfig


class Stages:
    """How long each stage of the start took, from the start of the process."""

    def __init__(self) -> None:
        started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        self._last_s = started_ticks / os.sysconf("SC_CLK_TCK")
        self.seconds: dict[str, float] = {}
        self.end("imports")

    def end(self, stage: str) -> None:
        """Ends a stage; the next begins."""
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        self.seconds[stage] = round(now_s - self._last_s, 3)
        self._last_s = now_s


def core_options(config: ServiceConfig) -> dict[str, Any]:
    """The data plane's options, in its own words."""
    limits = config.limits
    return {
        "shards": config.data_plane_threads or max(1, (os.cpu_count() or 1) // 8),
        "busy_poll_us": config.busy_poll_us,
        "arena_bytes": config.arena_bytes,
        "max_message_bytes": limits.message_bytes,
        "stream_window_bytes": limits.stream_window_bytes,
        "max_connections": limits.connections,
        "max_concurrent_streams": limits.streams_per_connection,
        "max_header_bytes": limits.header_bytes,
        "max_deadline_ms": limits.deadline_ms,
    }


def aiges_options(config: ServiceConfig, address: str) -> dict[str, Any]:
    """What AIGES clients see, in the data plane's words; `address` is IPv4:PORT."""
    aiges = config.aiges
    return {
        "address": address,
        "header_pass": list(aiges.header_pass),
        "session_ttl_ms": aiges.session_ttl_ms,
    }


def face_settings(config: ServiceConfig, *, takes_new: bool) -> Settings:
    """What the faces of the HTTP port are told. Where gRPC is encrypted they have to be asked for, but on loopback."""
    aiges = config.aiges
    is_safe = config.tls is None or not is_reached_from_outside(config.http)
    return Settings(
        is_on=is_safe if aiges.http is None else aiges.http,
        takes_new=takes_new,
        header_pass=frozenset(aiges.header_pass),
        message_bytes=config.limits.message_bytes,
        ws_read_timeout_s=aiges.ws_read_timeout_s,
        ws_session_timeout_s=aiges.ws_session_timeout_s,
    )


def file_threads() -> ThreadPoolExecutor:
    """Two threads for files and for looking at other interpreters: both from the start, and never more."""
    pool = ThreadPoolExecutor(2, "files")
    together = Barrier(2)
    for _ in range(2):
        pool.submit(together.wait)
    return pool

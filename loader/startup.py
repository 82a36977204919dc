"""What the start needs on its way: how long each stage took, threads for files, the data plane's options.

Knows no engines.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

from loader.certificates import is_reached_from_outside
from loader.gateway.settings import Settings

if TYPE_CHECKING:
    from loader.config import ServiceConfig


FILES = "files"  # what the names of their threads begin with
LEAVE_S = 2.0  # for what is being written


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


class FileThreads(ThreadPoolExecutor):
    """Threads whose end nobody waits for without a bound: `leave` is for what hangs in them."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=True)


def file_threads() -> FileThreads:
    """Two threads for files and for looking at other interpreters: both from the start, and never more."""
    pool = FileThreads(2, FILES)
    together = Barrier(2)
    for _ in range(2):
        pool.submit(together.wait)
    return pool


def leave(code: int) -> int:
    """The exit code. Where a thread for files hangs in a file system, a driver or another interpreter, the process ends
    here: it could not end otherwise."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the loop is gone that took them
        signal.signal(number, signal.SIG_IGN)
    end_s = time.monotonic() + LEAVE_S
    threads = [one for one in threading.enumerate() if one.name.startswith(FILES)]
    for one in threads:
        one.join(max(0.0, end_s - time.monotonic()))
    if any(one.is_alive() for one in threads):
        for children in Path("/proc/self/task").glob("*/children"):
            for pid in children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        logging.shutdown()
        os._exit(code)
    return code

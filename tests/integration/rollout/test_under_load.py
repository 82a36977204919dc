"""Changes and replacements without pause under load: no session is lost, none notices, nothing grows.

Counts are small here; `make prove-rollout` runs the full ones: CHANGES=1000 REPLACEMENTS=100 SESSIONS=200.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from load import Load
from running import Running, until
from watching import alone, deployments, ended, rollouts

Start = Callable[..., Running]
Write = Callable[..., Path]

CHANGES = int(os.environ.get("CHANGES", "30"))
REPLACEMENTS = int(os.environ.get("REPLACEMENTS", "10"))
SESSIONS = int(os.environ.get("SESSIONS", "40"))
IS_PROOF = "CHANGES" in os.environ
# Elsewhere other programs may have the processor; the bound then only finds what does not move at all.
APPLIED_WITHIN_S = 1.0 if IS_PROOF else 20.0


def config(wrapper: Path, version: int, queue_limit: int) -> str:
    return (
        f"engines:\n  echo:\n    wrapper: {wrapper}\n    version: 'v{version}'\n    slots: {SESSIONS + 10}\n"
        f"    queue_limit: {queue_limit}\n    labels: {{change: c{queue_limit}}}\n    config: {{says: v{version}}}\n"
    )


def test_live_changes_lose_no_session(start: Start, wrapper: Write) -> None:
    """Each is applied within a second, and no session ends otherwise than it wanted."""
    running = start(config(wrapper(), 1, 1000))
    pid = running.instance("echo").pid
    times_s = []
    with Load(running.ready["grpc"], SESSIONS) as load:
        for number in range(1001, 1001 + CHANGES):
            before = rollouts(running)[0]
            began_s = time.monotonic()
            running.rewrite(config(wrapper(), 1, number))
            record = ended(running, before)
            times_s.append(time.monotonic() - began_s)
            assert record.state == "applied", record
            assert deployments(running)[0].labels["change"] == f"c{number}"
    print(
        f"\n{CHANGES} changes, {load.versions.total()} sessions of {SESSIONS} at a time: "
        f"median {statistics.median(times_s):.3f} s, worst {max(times_s):.3f} s"
    )
    assert load.failures == []
    assert load.versions.total() >= SESSIONS
    assert max(times_s) <= APPLIED_WITHIN_S
    assert running.instance("echo").pid == pid


def test_replacements_lose_no_session_and_nothing_grows(start: Start, wrapper: Write) -> None:
    """Every session finishes on the version that it began with; memory, descriptors and processes stay."""
    running = start(config(wrapper(), 0, 1000))
    loader = psutil.Process(running.process.pid)
    sizes: list[tuple[int, int, int]] = []
    with Load(running.ready["grpc"], SESSIONS) as load:
        for version in range(1, REPLACEMENTS + 1):
            before = rollouts(running)[0]
            running.rewrite(config(wrapper(), version, 1000))
            record = ended(running, before)
            assert record.state == "applied", record
            until(lambda: len(deployments(running)) == len(running.hosts()) == 1, "the old one has ended", 60)
            sizes.append((loader.memory_info().rss, loader.num_fds(), len(running.hosts())))
    print(
        f"\n{REPLACEMENTS} replacements, {load.versions.total()} sessions, first and last size: {sizes[0]} {sizes[-1]}"
    )
    assert load.failures == []
    assert {f"v{number}" for number in range(1, REPLACEMENTS + 1)} <= set(load.versions)
    alone(running)
    settled = sizes[len(sizes) // 3]
    assert sizes[-1][0] - settled[0] < 16 << 20, sizes
    until(lambda: loader.num_fds() - settled[1] <= 4, f"descriptors are closed: {sizes}")

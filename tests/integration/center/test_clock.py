"""A real loader whose time of day jumps, by a library in front of the kernel's clock: nothing depends on it."""

from __future__ import annotations

import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest
from following import CONVERGE_S, Scene, service
from running import until

YEAR_S = 365 * 24 * 3_600
LEASE_S = 10  # of the registry
CLOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *jump;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("CLOCK_JUMP");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *seen = mmap(NULL, sizeof *jump, PROT_READ, MAP_SHARED, file, 0);
  if (seen != MAP_FAILED) jump = seen;
  close(file);
}

int clock_gettime(clockid_t clock, struct timespec *out) {
  int result = (int)syscall(SYS_clock_gettime, clock, out);
  if (result == 0 && clock == CLOCK_REALTIME && jump) out->tv_sec += *jump;
  return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  struct timespec now;
  int result = clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return result;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""


class Clock:
    """The time of day of the processes that are started with it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "jump"
        self._library = folder / "clock.so"
        self.jump(0)
        source = folder / "clock.c"
        source.write_text(CLOCK)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self._library, source], check=True, timeout=60)

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "CLOCK_JUMP": str(self._file)}

    def jump(self, seconds: int) -> None:
        """From now on it is so many seconds later, or earlier, than it is."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


def test_a_clock_that_jumps_changes_nothing(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Years back, years ahead and back again: changes are applied, the lease in Consul goes on, an open session and the
    deadlines of calls do not notice, and a center that goes and comes is followed."""
    clock = Clock(tmp_path)
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    first = scene.publish(service(10))
    running = scene.start()
    monkeypatch.undo()
    scene.acknowledged(revision=first, state="applied")
    until(scene.entry, "announced", CONVERGE_S)
    session = running.open_session("echo")

    def serves(jump: int, number: int) -> None:
        clock.jump(jump)
        revision = scene.publish(service(number))
        said = scene.acknowledged(revision=revision, state="applied", serving=revision)
        assert abs(said["time_s"] - time.time() - jump) < 60, "its clock has not jumped"
        assert 0 <= said["duration_s"] < 60
        session.write("still")
        assert session.result() == "still"
        assert running.echo("echo") == "hello"  # has a deadline

    serves(-10 * YEAR_S, 11)
    threading.Event().wait(LEASE_S + 2)  # what is tested is this time going by
    until(scene.entry, "the lease goes on: its next beat is not years away", CONVERGE_S)
    serves(10 * YEAR_S, 12)
    scene.agent.kill()
    clock.jump(-YEAR_S)
    scene.agent.restart()
    serves(0, 13)
    until(scene.entry, "announced", CONVERGE_S)
    session.end()

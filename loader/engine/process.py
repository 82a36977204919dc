"""One host process: started, watched by its pidfd, its output captured, reaped. Knows no engine protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from loader.engine.output import OutputCapture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loader.engine.spec import EngineSpec

logger = logging.getLogger(__name__)

SAID_WHY = 4  # exit code of a host whose last line says why it ended: see loader.compat.aiges.plugin.engine
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class HostProcess:
    """A host that leads its own process group.

    Made on the main thread: the host's parent-death signal is tied to the thread that forked it.
    """

    def __init__(self, spec: EngineSpec, index: int, arguments: Sequence[str], fds: Sequence[int]) -> None:
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                spec.command(arguments),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                pass_fds=tuple(fds),
                process_group=0,
                env=spec.environment(),
                cwd=spec.folder,
            )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.pid = self._process.pid
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:  # no descriptor is left
            os.close(reader)
            self.kill()
            self.reap()
            raise
        self.output = OutputCapture(reader, spec.name, index)
        self._on_exit: Callable[[], None] | None = None

    def watch(self, loop: asyncio.AbstractEventLoop, on_exit: Callable[[], None]) -> None:
        """Reads output and calls `on_exit` once, when the process has ended."""
        self._on_exit = on_exit
        loop.add_reader(self.output.fd, self._read_output, loop)
        loop.add_reader(self._pidfd, self._exited, loop)

    def kill(self) -> None:
        """Ends the whole process group, while the process is not reaped (its number cannot be another's)."""
        if self._process.returncode is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                return

    def reap(self) -> None:
        """Collects the exit status of an ended process."""
        self._process.wait()

    @property
    def exit_text(self) -> str:
        """How it ended, in words. Only after on_exit."""
        # The status is looked at without reaping: the data plane may still signal the group by its number.
        status = (
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            if self._process.returncode is None
            else None
        )
        code = self._process.returncode
        if status is not None:
            code = status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
        if code is not None and code < 0:
            return f"killed by {signal_name(-code)}"
        why = f": {self.output.last_line}" if code == SAID_WHY and self.output.last_line else ""
        return f"exit code {code}{why}"

    def rss_bytes(self) -> int:
        """Resident memory; 0 when it cannot be told."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0

    def _exited(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The leader is a zombie still, so its number is ours: no grandchild outlives it.
        self.kill()
        self._finish_output(loop)
        if self._on_exit is not None:
            self._on_exit()

    def _read_output(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.output.read():
            self._close_output(loop)

    def _finish_output(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads what is left in the pipe, at most one pipe's worth: a grandchild may still write."""
        for _ in range(32):
            if self.output.fd < 0 or not self.output.has_data():
                break
            self._read_output(loop)
        self._close_output(loop)

    def _close_output(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.output.fd >= 0:
            loop.remove_reader(self.output.fd)
            self.output.close()


def signal_name(number: int) -> str:
    """In words; most real-time signals have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

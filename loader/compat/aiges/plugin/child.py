"""The process of a command: started in the host's group, its handshake line waited for, its output passed on.

Knows go-plugin's handshake and no gRPC.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from loader.compat.aiges.plugin import handshake
from loader.compat.aiges.plugin.handshake import Address, CommandError

LAUNCH: Final = Path(__file__).with_name("launch.py")
LINE_BYTES: Final = 8 << 10
TAIL_LINES: Final = 6
TAIL_LETTERS: Final = 600
DRAIN_S: Final = 1.0  # for output of a process that has ended: one that it left behind may hold the pipe
STOP_S: Final = 1.5  # between SIGTERM and SIGKILL
PORT_TAKEN: Final = ("address already in use", "failed to bind", "eaddrinuse")
PORT_CURE: Final = (
    "its port is another process's: end that, or change one's port (that of `aiges.serve` is 50055)"
)


class Child:
    """One process. `on_end` is called once, on a thread of ours, when it has ended and was not stopped."""

    def __init__(self, words: Sequence[str], on_end: Callable[[], None]) -> None:
        self._words = list(words)
        self._on_end = on_end
        self._changed = threading.Condition()
        self._line = ""
        self._ending = ""  # how it ended
        self._is_stopping = False
        self._printed: deque[str] = deque(maxlen=TAIL_LINES)
        self._complained: deque[str] = deque(maxlen=TAIL_LINES)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it. On the main thread, with whose end it ends. Raises: CommandError."""
        if not shutil.which(self._words[0]):
            raise CommandError(
                f"there is no program {self._words[0]}: correct `command`, or PATH in the engine's `environment`"
            )
        # Launched by a program of our own in place of preexec_fn, which may deadlock: the host has threads.
        command = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), *self._words]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **handshake.environment()},
            )
        except OSError as error:
            raise CommandError(f"it cannot be started: {error.strerror}") from None
        threading.Thread(target=self._wait, name="aiges-command", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its number; while it has not been waited for, nobody else's."""
        return self._process.pid if self._process is not None else 0

    def address(self, limit_s: float) -> Address:
        """What its handshake line says, waited for. Raises: CommandError."""
        with self._changed:
            self._changed.wait_for(lambda: self._line or self._ending, limit_s)
            if self._line:
                return handshake.parse(self._line)
            if self._ending:
                raise CommandError(f"it ended before its handshake line: {self._how()}")
            said = self._said()
        raise CommandError(
            f"it has not printed its handshake line in {limit_s:.1f} s: raise init_timeout_s, or see whether it is a "
            f"plug-in of AIGES{said}"
        )

    def ending(self, limit_s: float) -> str:
        """How it ended and what it said last; empty where it has not in that time."""
        with self._changed:
            self._changed.wait_for(lambda: self._ending, limit_s)
            return self._how() if self._ending else ""

    def pass_on(self, to_fd: int, output: bytes) -> None:
        """Gives what it printed to the host's own output, 1 or 2, where the supervisor logs it. From any thread."""
        note = self._note_printed if to_fd == 1 else self._note_complaint
        for line in output.decode("utf-8", "replace").splitlines():
            note(line)
        with suppress(OSError):
            os.write(to_fd, output)

    def stop(self) -> None:
        """Ends it; what it started itself ends with the host's group. Again does nothing."""
        with self._changed:
            self._is_stopping = True
        if self._process is None:
            return
        self._process.terminate()
        if not self.ending(STOP_S):
            self.kill()
            self.ending(STOP_S)

    def kill(self) -> None:
        """Ends it now."""
        if self._process is not None:
            self._process.kill()

    # ---- its output and its end, on threads of ours

    def _wait(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        pumps = [
            threading.Thread(target=self._pump, args=arguments, daemon=True)
            for arguments in ((process.stdout, 1), (process.stderr, 2))
        ]
        for pump in pumps:
            pump.start()
        code = process.wait()
        end_s = time.monotonic() + (0.0 if self._is_stopping else DRAIN_S)
        for pump in pumps:
            pump.join(max(0.0, end_s - time.monotonic()))
        with self._changed:
            self._ending = f"killed by {_name_of(-code)}" if code < 0 else f"exit code {code}"
            is_wanted = self._is_stopping
            self._changed.notify_all()
        if not is_wanted:
            self._on_end()

    def _pump(self, pipe: IO[bytes], to_fd: int) -> None:
        with pipe:
            while line := pipe.readline(LINE_BYTES):
                self.pass_on(to_fd, line)

    def _note_printed(self, line: str) -> None:
        with self._changed:
            if self._line or not handshake.is_handshake(line):
                self._printed.append(line)
                return
            self._line = line
            self._changed.notify_all()

    def _note_complaint(self, line: str) -> None:
        with self._changed:
            self._complained.append(line)

    def _how(self) -> str:
        said = self._said()
        is_taken = any(word in said.lower() for word in PORT_TAKEN)
        return f"{self._ending}{said}" + (f": {PORT_CURE}" if is_taken else "")

    def _said(self) -> str:
        lines = [line.strip() for line in self._complained or self._printed]
        text = "; ".join(line for line in lines if line)[-TAIL_LETTERS:]
        return f"; it printed: {text}" if text else ""


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"

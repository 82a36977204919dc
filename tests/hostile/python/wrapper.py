"""A Python wrapper that misbehaves as its config says, and is an echo everywhere else.

`config.behavior` names a function of `BEHAVIORS`; `config.entry` the method that runs it: init, exec,
create, write, end, destroy, cancel, fini, warm_up or health. exec and write misbehave for an item `trigger`
only; everything else is echoed, so that a test can see who survived. Each session's destroy says its reason.
"""

# ruff: noqa: S112  ignoring whatever happens is the point
from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from loader import PENDING, CloseReason, Config, Frame, Item, Params, Request, Result, Session, Wrapper

GIGABYTE = 1 << 30
Port = Any


def echo(frame: Frame | Request) -> Result:
    """The items, back."""
    return Result([(item.key, item) for item in frame.items])


def raise_error(_port: Port) -> None:
    """An ordinary exception."""
    raise ValueError("hostile: raised on purpose")


def raise_exit(_port: Port) -> None:
    """SystemExit, which must not end the host."""
    raise SystemExit(7)


def segfault(_port: Port) -> None:
    """Reads address 0."""
    ctypes.string_at(0)


def abort(_port: Port) -> None:
    """Dies by SIGABRT."""
    os.abort()


def leave(_port: Port) -> None:
    """Ends the process without a word."""
    os._exit(0)


def loop_forever(_port: Port) -> None:
    """Computes for ever in Python, giving the GIL up only when asked."""
    while True:
        pass


def hold_gil(_port: Port) -> None:
    """Sleeps in C with the GIL held: no other thread of the host runs Python."""
    ctypes.PyDLL(None).sleep(3600)


def sleep_forever(_port: Port) -> None:
    """Blocks for ever without the GIL."""
    threading.Event().wait()


def never_finish(_port: Port) -> object:
    """Says PENDING and forgets the call."""
    return PENDING


def finish_twice(port: Port) -> object:
    """Finishes one call two times; the second has to be refused."""

    def work() -> None:
        port.finish()
        try:
            port.finish()
        except (ValueError, ConnectionError):
            return
        sys.stderr.write("hostile: the second finish was accepted\n")

    threading.Thread(target=work, daemon=True).start()
    return PENDING


def emit_late(port: Port) -> None:
    """Goes on emitting after the call and after destroy, until it is refused."""

    def work() -> None:
        refused = 0
        while refused < 100:
            try:
                port.emit(b"late")
            except (ConnectionError, ValueError):
                refused += 1
            time.sleep(0.001)

    threading.Thread(target=work, daemon=True).start()


def emit_from_threads(port: Port) -> None:
    """Ten threads emit ten results each."""

    def work(number: int) -> None:
        for count in range(10):
            port.emit({"n": [number, count]})

    workers = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def flood(_port: Port) -> Iterator[bytes]:
    """Yields without end."""
    while True:
        yield bytes(1024)


def fork_child(_port: Port) -> None:
    """A child that outlives its parent, with every descriptor, and ignores SIGTERM."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Event().wait(600)
        os._exit(0)


def close_descriptors(_port: Port) -> None:
    """Closes everything, the channel included."""
    os.closerange(0, 4096)


def print_gigabyte(_port: Port) -> None:
    """Writes 1 GiB to standard output."""
    line = b"x" * 1023 + b"\n"
    block = line * 1024
    for _ in range(GIGABYTE // len(block)):
        os.write(1, block)


def allocate(_port: Port) -> None:
    """Takes memory, touched, until it is stopped."""
    kept: list[bytes] = []
    while True:
        kept.append(b"\1" * (16 << 20))
        time.sleep(0.005)


def ignore_cancel(_port: Port) -> Any:
    """A coroutine that swallows CancelledError for ever."""

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except BaseException:
                continue

    return stubborn()


def ignore_close(_port: Port) -> Iterator[bytes]:
    """A generator that goes on when it is closed."""
    while True:
        try:
            yield b"more"
        except GeneratorExit:
            continue


def bad_type(_port: Port) -> object:
    """A result that cannot be sent."""
    return {"x": object()}


def bad_key(_port: Port) -> object:
    """A key that is no text."""
    return {1: b"x"}


def bad_text(_port: Port) -> object:
    """A text that is not UTF-8."""
    return "\ud800"


def bad_item(_port: Port) -> object:
    """An item type that does not exist."""
    return {"x": Item(b"", type="smell")}


def huge_result(_port: Port) -> bytes:
    """More than any message limit."""
    return bytes(1 << 30)


def kill_group(_port: Port) -> None:
    """Kills its own process group."""
    os.killpg(os.getpgid(0), signal.SIGKILL)


BEHAVIORS: dict[str, Callable[[Port], Any]] = {
    function.__name__: function
    for function in (
        raise_error, raise_exit, segfault, abort, leave, loop_forever, hold_gil, sleep_forever,
        never_finish, finish_twice, emit_late, emit_from_threads, flood, fork_child,
        close_descriptors, print_gigabyte, allocate, ignore_cancel, ignore_close, bad_type, bad_key,
        bad_text, bad_item, huge_result, kill_group,
    )
}  # fmt: skip


class Plan:
    """What to do where."""

    def __init__(self, config: Config) -> None:
        self._behavior = BEHAVIORS.get(str(config.get("behavior", "")))
        self._entry = config.get("entry")

    def at(self, place: str, port: Port = None) -> Any:
        """Misbehaves if this is the place."""
        if self._behavior is None or place != self._entry:
            return None
        return self._behavior(port)


class HostileSession(Session):
    """An echo session that misbehaves where the plan says."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def write(self, frame: Frame) -> Any:
        """Misbehaves, or echoes."""
        if "trigger" not in frame:
            return echo(frame)
        done = self._plan.at("write", self)
        return echo(frame) if done is None else done

    def end(self) -> Any:
        """Misbehaves, or does nothing."""
        return self._plan.at("end", self)

    def cancel(self, _reason: CloseReason) -> None:
        """Misbehaves, or does nothing."""
        self._plan.at("cancel", self)

    def destroy(self, reason: CloseReason) -> None:
        """Says the reason; misbehaves, or does nothing more."""
        print(f"destroyed: {reason.value}", flush=True)
        self._plan.at("destroy", self)


class Hostile(Wrapper):
    """An echo engine that misbehaves where the plan says."""

    def init(self, config: Config) -> None:
        """Reads the plan."""
        self._plan = Plan(config)
        self._plan.at("init")

    def warm_up(self) -> None:
        """Misbehaves, or does nothing."""
        self._plan.at("warm_up")

    def health(self) -> None:
        """Misbehaves, or does nothing."""
        self._plan.at("health")

    def fini(self) -> None:
        """Misbehaves, or does nothing."""
        self._plan.at("fini")

    def exec(self, request: Request) -> Any:
        """Misbehaves, or echoes."""
        if "trigger" not in request:
            return echo(request)
        done = self._plan.at("exec", request)
        return echo(request) if done is None else done

    def create(self, params: Params) -> HostileSession:
        """Misbehaves, then opens a session."""
        self._plan.at("create", params)
        return HostileSession(self._plan)

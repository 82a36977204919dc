"""Which process answers our connections to a TCP port of this machine, as /proc tells it.

Servers of gRPC share a port with whoever else binds it (SO_REUSEPORT), and `aiges.serve` always binds the same: a
connection to one's own command may end in another's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
ESTABLISHED: Final = "01"
LISTEN: Final = "0A"


class _Socket(NamedTuple):
    port: int
    peer_port: int
    inode: str


def stranger_at(port: int) -> str:
    """Who answers us at `port` and was not started by this process; empty: nobody, or it cannot be told."""
    sockets = list(_sockets(ESTABLISHED))
    mine = _sockets_of(os.getpid())
    ours = {one.port for one in sockets if one.inode in mine and one.peer_port == port}
    answering = {one.inode for one in sockets if one.port == port and one.peer_port in ours}
    for pid in _processes() if answering else ():
        held = answering & _sockets_of(pid)
        answering -= held
        if held and not _is_own(pid):
            return f"process {pid} ({_name_of(pid)})"
    return "another user's process" if answering else ""


def is_own_listening(port: int) -> bool:
    """A process of ours listens there, alone or beside others."""
    listening = {one.inode for one in _sockets(LISTEN) if one.port == port}
    return any(listening & _sockets_of(pid) for pid in _processes() if _is_own(pid))


def _sockets(wanted: str) -> Iterator[_Socket]:
    for table in TABLES:
        with suppress(OSError):  # no IPv6
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, peer, state, *rest = line.split()
                if state == wanted:
                    yield _Socket(_port_of(local), _port_of(peer), rest[5])


def _port_of(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def _processes() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _sockets_of(pid: int) -> set[str]:
    found = set[str]()
    with suppress(OSError):  # it has ended, or is another user's
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return found


def _is_own(pid: int) -> bool:
    """Of this process's group, or started by it, through others or not."""
    with suppress(OSError):
        if os.getpgid(pid) == os.getpgrp():
            return True
        while pid > 1 and pid != os.getpid():
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid == os.getpid()


def _name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"

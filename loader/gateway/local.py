"""The client of a loader's own HTTP faces: it reaches its data plane by a socket file that nobody else may open.

So it needs neither certificate nor port, whatever the public gRPC port asks for. Knows how to listen as a function.
The file's folder is locked by its process; what one that was killed has left is removed by the next that makes its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from loader.client import AsyncClient

LONGEST: Final = (
    70  # bytes of the folder for temporary files, of the 107 that the name of a socket file may have
)
PREFIX: Final = "loader-grpc-"
SOCKET: Final = "grpc"

# A session whose client is slow keeps little: the windows do not grow.
OPTIONS: Final[list[tuple[str, Any]]] = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]


@asynccontextmanager
async def own_client(listen: Callable[[str], object]) -> AsyncIterator[AsyncClient]:
    """A client of this process's own data plane; `listen` makes that listen on a further address."""
    with private_folder() as folder:
        address = f"unix:{folder}/{SOCKET}"
        listen(address)
        module = await asyncio.to_thread(import_module, "loader.client.aio")
        async with module.AsyncClient(address, options=OPTIONS) as client:
            yield client


@contextmanager
def private_folder() -> Iterator[str]:
    """A folder that only this user may enter, gone at the end; where there is no end, by whoever makes the next one."""
    found = tempfile.gettempdir()
    base = found if len(os.fsencode(found)) <= LONGEST else "/tmp"  # noqa: S108
    _sweep(base)
    folder, lock = _locked_folder(base)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked_folder(base: str) -> tuple[str, int]:
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX, dir=base)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # another process swept it before it was locked
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_mine = os.fstat(lock).st_nlink > 0
        except BlockingIOError:
            is_mine = False  # it is being swept
        except OSError:
            is_mine = True  # no locks here: nobody sweeps, either
        if is_mine:
            return folder, lock
        os.close(lock)


def _sweep(base: str) -> None:
    """Removes the folders that nobody has locked. By lock and not by process number: others may share the folder for
    temporary files from a container of their own."""
    for folder in Path(base).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, or locked, or gone by now
            _remove(folder)


def _remove(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_uid == os.geteuid():
            with suppress(FileNotFoundError):
                os.unlink(SOCKET, dir_fd=lock)
            folder.rmdir()
    finally:
        os.close(lock)

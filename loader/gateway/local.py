"""The client of a loader's own HTTP faces: it reaches its data plane by a socket file that nobody else may open.

So it needs neither certificate nor port, whatever the public gRPC port asks for. Knows how to listen as a function.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from loader.client import AsyncClient

LONGEST: Final = (
    70  # bytes of the folder for temporary files, of the 107 that the name of a socket file may have
)

# A session whose client is slow keeps little: the windows do not grow.
OPTIONS: Final[list[tuple[str, Any]]] = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]


@asynccontextmanager
async def own_client(listen: Callable[[str], object]) -> AsyncIterator[AsyncClient]:
    """A client of this process's own data plane; `listen` makes that listen on a further address."""
    folder = _private_folder()
    try:
        address = f"unix:{folder}/grpc"
        listen(address)
        module = await asyncio.to_thread(import_module, "loader.client.aio")
        async with module.AsyncClient(address, options=OPTIONS) as client:
            yield client
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _private_folder() -> str:
    base = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="loader-", dir=base if len(os.fsencode(base)) <= LONGEST else "/tmp")  # noqa: S108

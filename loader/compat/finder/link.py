"""One ZooKeeper session behind asyncio: bounded calls, one event for everything that may have changed.

Owns kazoo's threads, from the first call to close(). Knows nodes; refuses to know what they mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from loader.compat.finder.companion import Companion
from loader.errors import BadConfigError, LoaderError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from loader.compat.finder.layout import Storage
    from loader.compat.finder.location import FinderLocation

logger = logging.getLogger(__name__)

SESSION_S = 5.0  # what ZooKeeper waits for a sign of life: AIGES's own
CALL_S = 4.0
CLOSE_S = 3.0
RETRY_MAX_S = 2.0  # between two attempts to connect
OPEN_AGAIN_S = 6.0  # for each server; then the session is over, and ZooKeeper may be elsewhere, or empty
LOOK_S = 30.0  # watches tell every change: a look without one should find nothing new
OUT_S = 1.0  # between two looks while it is away
RACES = 5  # of one read with others who create and delete

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is there."""

    data: bytes
    owner: int  # the session that it ends with; 0: none


class FinderLink:
    """The ZooKeeper of one service. For one event loop.

    Every call raises the error class given where ZooKeeper or the companion is out of reach.
    """

    def __init__(
        self, location: FinderLocation, unreachable: type[LoaderError], cache: Path | None = None
    ) -> None:
        _check_installed(location)
        self.companion = Companion(location, unreachable, cache)
        self.session = 0  # changes when ZooKeeper gave up on us: what was ephemeral is gone
        self._unreachable = unreachable
        self._client: Any = None
        self._storage: Storage | None = None
        self._up_s = 0.0  # when it was, or was to be, in reach
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._is_up = asyncio.Event()
        self._changed = asyncio.Event()
        self._is_closed = False

    async def storage(self) -> Storage:
        """What the companion says; opens the session."""
        async with self._opening:
            if self._is_closed:
                raise self._unreachable("the finder is closed: a call came too late")
            if self._client is None or self._is_lost():
                await self._open()
        assert self._storage is not None
        return self._storage

    async def get(self, path: str) -> Node | None:
        """A node, None where there is none. Its next change ends the wait of follow()."""
        from kazoo.exceptions import NoNodeError

        for _ in range(RACES):
            try:
                data, stat = await self._call(lambda client: client.get_async(path, self._notice))
                return Node(data or b"", stat.ephemeralOwner)  # made by hand, it may have none
            except NoNodeError:
                if await self._call(lambda client: client.exists_async(path, self._notice)) is None:
                    return None
        raise self._unreachable(f"{path}: comes and goes: try again")

    async def children(self, path: str) -> list[str]:
        """Their names; none where there is no node. The next change ends the wait of follow()."""
        from kazoo.exceptions import NoNodeError

        for _ in range(RACES):
            try:
                return list(await self._call(lambda client: client.get_children_async(path, self._notice)))
            except NoNodeError:
                if await self._call(lambda client: client.exists_async(path, self._notice)) is None:
                    return []
        raise self._unreachable(f"{path}: comes and goes: try again")

    async def hold(self, path: str, data: bytes, *, is_ours: bool = True) -> None:
        """An ephemeral node of this session, taken over where it is another's: of our last life, which ZooKeeper has
        not given up yet. With `is_ours` it has this data; without, what somebody wrote there since stays."""
        from kazoo.exceptions import NodeExistsError, NoNodeError

        for _ in range(RACES):
            node = await self.get(path)
            is_held = node is not None and node.owner == self.session
            if node is not None and is_held and (node.data == data or not is_ours):
                return
            with contextlib.suppress(NoNodeError, NodeExistsError):
                if is_held:
                    await self._call(lambda client: client.set_async(path, data))
                    return
                if node is not None:
                    await self._call(lambda client: client.delete_async(path))
                await self._call(
                    lambda client: client.create_async(path, data, ephemeral=True, makepath=True)
                )
                return
        raise self._unreachable(f"{path}: another takes it again and again: does it have our address?")

    async def join(self, path: str) -> None:
        """An empty ephemeral node of this session, where there is none: another's stays, and its end ends the wait of
        follow()."""
        from kazoo.exceptions import NodeExistsError, NoNodeError

        if await self.get(path) is None:
            with contextlib.suppress(NodeExistsError, NoNodeError):
                await self._call(lambda client: client.create_async(path, b"", ephemeral=True, makepath=True))

    async def release(self, path: str) -> None:
        """Ends a node that is held; another's stays."""
        from kazoo.exceptions import NoNodeError

        node = await self.get(path)
        if node is not None and node.owner == self.session:
            with contextlib.suppress(NoNodeError):
                await self._call(lambda client: client.delete_async(path))

    async def follow(
        self, read: Callable[[], Awaitable[Answer]]
    ) -> AsyncGenerator[Answer | LoaderError, None]:
        """What `read` gives now, after each change of what it got, and now and then; without end.

        That it is out of reach is told once; every other LoaderError each time.
        """
        is_out = False
        while True:
            self._changed.clear()
            answer: Answer | LoaderError
            try:
                answer = await read()
            except LoaderError as error:
                answer = error
            was_out, is_out = is_out, isinstance(answer, self._unreachable)
            if not (was_out and is_out):
                yield answer
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OUT_S if is_out else LOOK_S):
                    await self._changed.wait()

    async def close(self) -> None:
        """Ends the session, what was ephemeral with it, and kazoo's threads."""
        async with self._opening:
            self._is_closed = True
            await self._end()
        await self.companion.close()

    # ---- inside

    def _is_lost(self) -> bool:
        servers = len(self._storage.servers) if self._storage else 1
        away_s = asyncio.get_running_loop().time() - self._up_s
        return not self._is_up.is_set() and away_s > OPEN_AGAIN_S * servers

    async def _open(self) -> None:
        """A new session, where the companion says now. One that was empty meanwhile refuses all that saw it before."""
        self._loop = asyncio.get_running_loop()
        self._storage = storage = await self.companion.storage()
        await self._end()
        self._up_s = self._loop.time()
        client = self._client = _make_client(storage)
        client.add_listener(lambda state: self._note_state(client, state))
        client.start_async()

    async def _end(self) -> None:
        """Bounded: a server that hangs holds kazoo's threads, which are daemons."""
        client, self._client = self._client, None
        self._is_up.clear()
        self.session = 0
        if client is None:
            return
        from kazoo.exceptions import KazooException

        loop, is_over = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            try:
                client.stop()
                client.close()
            except (KazooException, OSError) as error:  # its thread still waits for a server
                logger.debug("the session was left", extra={"error": str(error)})
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(is_over.set)

        ending = threading.Thread(target=end, name="finder-end", daemon=True)
        ending.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await is_over.wait()
                ending.join()

    async def _call(self, use: Callable[[Any], Any]) -> Any:
        """What an asynchronous call of kazoo gives. Raises: kazoo's errors of nodes."""
        from kazoo import exceptions

        storage = await self.storage()
        where = f"ZooKeeper at {','.join(storage.servers)}"
        try:
            async with asyncio.timeout(CALL_S):
                await self._is_up.wait()
                return await self._result(use(self._client))
        except TimeoutError:
            raise self._unreachable(f"{where}: no answer in {CALL_S:g} s: is it running?") from None
        except exceptions.NoAuthError:
            raise self._unreachable(f"{where}: does not let us in there: correct the node's ACL") from None
        except (exceptions.NoNodeError, exceptions.NodeExistsError):
            raise
        except exceptions.KazooException as error:
            said = f"{type(error).__name__} {error}".strip()
            raise self._unreachable(f"{where}: {said}: is it running?") from None

    async def _result(self, pending: Any) -> Any:
        """Of kazoo's thread, awaited here."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()

        def settle() -> None:
            if result.done():  # it was not waited for
                return
            if pending.exception is not None:
                result.set_exception(pending.exception)
            else:
                result.set_result(pending.value)

        def tell(_: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle)

        pending.rawlink(tell)
        return await result

    # ---- on kazoo's threads

    def _notice(self, _: object) -> None:
        """A watch."""
        self._soon(self._changed.set)

    def _note_state(self, client: Any, state: str) -> None:
        known = client.client_id
        self._soon(lambda: self._take_state(client, state == "CONNECTED", known[0] if known else 0))

    def _soon(self, act: Callable[[], object]) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(act)

    def _take_state(self, client: object, is_up: bool, session: int) -> None:
        """On the loop again."""
        if client is not self._client:
            return
        logger.debug("ZooKeeper", extra={"is_up": is_up})
        if is_up:
            self.session = session
            self._is_up.set()
        else:
            if self._is_up.is_set():
                self._up_s = asyncio.get_running_loop().time()
            self._is_up.clear()
        self._changed.set()


def _check_installed(location: FinderLocation) -> None:
    try:
        import kazoo.client  # noqa: F401
    except ImportError:
        raise BadConfigError(
            f"{location.url}: a finder needs the package kazoo: pip install 'engine-loader[zookeeper]'"
        ) from None


def _make_client(storage: Storage) -> Any:
    from kazoo.client import KazooClient

    quiet = logging.getLogger(f"{__name__}.kazoo")
    quiet.setLevel(logging.ERROR)  # each attempt to connect is a warning to it; we tell once
    retry = {"max_tries": -1, "delay": 0.1, "max_delay": RETRY_MAX_S}
    return KazooClient(",".join(storage.servers), timeout=SESSION_S, connection_retry=retry, logger=quiet)

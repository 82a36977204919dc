"""Keeps a client's nodes as the registry has them, in whatever state the registry is.

Knows registries and event loops; refuses to know what the nodes are for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from threading import Thread
from typing import TYPE_CHECKING

from loader import errors
from loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loader.client.balancer import Attempt
    from loader.client.discovery import Node, Nodes
    from loader.client.messages import Target
    from loader.consul_link import ConsulAccess
    from loader.registry import Registry

logger = logging.getLogger(__name__)

FIRST_ANSWER_S = 10.0  # a call waits for the registry's first answer
NO_NODE_S = 2.0  # and, when that is known, for a node that serves what it asks for
AGAIN_S = 1.0
END_S = 5.0
SCHEMES = ("file:", "consul://", "consul+https://", "finder:")


def is_registry(address: str) -> bool:
    """Whether a client's address names a registry, and not a loader."""
    return address.startswith(SCHEMES)


class Watch:
    """Updates `nodes` from the registry at `url`. Raises: BadConfigError for an URL that is none."""

    def __init__(
        self,
        url: str,
        access: ConsulAccess | None,
        nodes: Nodes,
        forget: Callable[[list[Node]], None],
    ) -> None:
        from loader.consul_link import ConsulAccess
        from loader.registry import open_registry

        self._registry: Registry = open_registry(url, access or ConsulAccess())
        self._nodes = nodes
        self._forget = forget
        self._has_answer = False
        self._error = "it has not answered yet"  # empty: it is in reach
        self._listeners: set[Callable[[], None]] = set()

    async def run(self) -> None:
        """Without end; to be cancelled."""
        try:
            while True:
                try:
                    await self._follow()
                except (
                    Exception
                ):  # the outermost loop: the nodes known last must not be lost by a defect here
                    logger.exception("the watch of the registry failed")
                await asyncio.sleep(AGAIN_S)
        finally:
            await self._registry.close()

    @property
    def is_reachable(self) -> bool:
        """Whether the registry answered when it was asked last."""
        return not self._error

    @contextlib.contextmanager
    def listening(self, told: Callable[[], None]) -> Iterator[None]:
        """Calls `told` after each change, on the thread of run()."""
        self._listeners.add(told)
        try:
            yield
        finally:
            self._listeners.discard(told)

    def patience_s(self, attempt: Attempt, since_s: float) -> float:
        """How long a call that began to look for a node at `since_s` may still wait. Raises: why there is none."""
        limit_s = NO_NODE_S if self._has_answer else FIRST_ANSWER_S
        left_s = since_s + limit_s - time.monotonic()
        if attempt.remaining_s is not None:
            left_s = min(left_s, attempt.remaining_s)
        if left_s <= 0:
            raise self._no_node(attempt.target)
        return left_s

    def _no_node(self, target: Target) -> LoaderError:
        url = self._registry.url
        if not self._has_answer:
            return errors.RegistryUnreachableError(f"{url}: {self._error}, and no node is known from before")
        known = self._nodes.known
        if not known:
            return errors.EngineUnavailableError(f"{url}: no node is announced there: is a loader running?")
        served = sorted({f"{one.name} {one.version}" for entry in known for one in entry.engines})
        return errors.UnknownEngineError(
            f"{url}: none of {len(known)} nodes announces {target}: "
            f"they announce {', '.join(served) or 'nothing'}"
        )

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._registry.watch()) as news:
            async for found in news:
                if isinstance(found, LoaderError):
                    self._error = found.message
                    logger.warning("registry unreachable", extra={"error": found.message})
                else:
                    self._has_answer, self._error = True, ""
                    self._forget(self._nodes.update(found))
                for told in tuple(self._listeners):
                    told()


class Background:
    """A watch on a thread of its own, for the blocking client."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._loop = asyncio.new_event_loop()
        self._is_stopped = asyncio.Event()
        self._thread = Thread(target=self._run, name="loader-client-registry", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; a second time has no effect."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._is_stopped.set)
        self._thread.join(END_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._watch_until_stopped())

    async def _watch_until_stopped(self) -> None:
        watching = asyncio.create_task(self._watch.run())
        await self._is_stopped.wait()
        watching.cancel()
        await asyncio.wait((watching,), timeout=END_S)

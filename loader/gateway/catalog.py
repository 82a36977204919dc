"""The engines behind the faces: what each takes, and the paths at which it is called.

Knows `Describe`; refuses to know requests. What is known is used at once and renewed in the background; only a path
that nobody knows waits for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from loader.errors import LoaderError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loader.client import AsyncClient, Engine

logger = logging.getLogger(__name__)

FRESH_S: Final = 1.0  # what is older is renewed
LEAST_S: Final = 0.1  # between two renewals, however many unknown paths are asked for
ANSWER_S: Final = 5.0
ROUTES: Final = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class Served:
    """One engine as the faces see it."""

    name: str
    routes: tuple[str, ...]
    parameters: Mapping[str, str]  # declared: name -> type; empty: any is taken
    inputs: Mapping[str, str]  # declared: key -> type
    declaration: Mapping[str, Any]

    @property
    def aiges_schema(self) -> Mapping[str, Any]:
        """As its AIGES wrapper publishes it; empty: it has none."""
        schema = _mapping(_mapping(self.declaration.get("aiges")).get("schema"))
        return schema if _mapping(schema.get("schemainput")) else {}

    def takes_parameter(self, name: str) -> bool:
        """Whether what nobody asked for may be passed: the sid, a header."""
        return not self.parameters or name in self.parameters


def served(name: str, versions: list[Engine]) -> Served:
    """The engine of that name, of which there is at least one version; the first says what it takes."""
    declaration = versions[0].declaration
    routes = [f"/v1/private/{name}"]
    for one in versions:
        routes += _routes(_mapping(one.declaration.get("aiges")))
    return Served(
        name,
        tuple(dict.fromkeys(routes)),
        _types(declaration.get("parameters"), "name"),
        _types(declaration.get("inputs"), "key"),
        declaration,
    )


def _routes(said: Mapping[str, Any]) -> list[str]:
    """What an AIGES wrapper says of its paths."""
    meta = _mapping(_mapping(said.get("schema")).get("meta"))
    route = meta.get("route")
    found = ROUTES.split(route) if isinstance(route, str) else route if isinstance(route, list) else []
    if said.get("version") and said.get("service_id"):
        found = [*found, f"/{said['version']}/private/{said['service_id']}"]
    return [f"/{one.strip('/')}" for one in found if isinstance(one, str) and one.strip("/")]


def _types(declared: object, key: str) -> dict[str, str]:
    entries = declared if isinstance(declared, list) else []
    return {
        str(one[key]): str(one.get("type", "")) for one in entries if isinstance(one, dict) and key in one
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class Catalog:
    """The engines of a client's loader, or of all loaders of its registry."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._engines: dict[str, Served] = {}
        self._by_path: dict[str, Served] = {}
        self._renewed_s = float("-inf")
        self._renewing: asyncio.Task[None] | None = None

    @property
    def engines(self) -> list[Served]:
        """Known now, by name."""
        return [self._engines[name] for name in sorted(self._engines)]

    async def find(self, path: str) -> Served | None:
        """The engine at a path. Raises: LoaderError where nobody could be asked and nothing is known."""
        age_s = time.monotonic() - self._renewed_s
        found = self._by_path.get(path)
        if found is None and age_s > LEAST_S:
            await self.renew()
            return self._by_path.get(path)
        if age_s > FRESH_S:
            self._renew_soon()
        return found

    async def renew(self) -> None:
        """Asks. Raises: LoaderError where nothing is known and nobody answers."""
        try:
            await asyncio.shield(self._renew_soon())
        except LoaderError:
            if not self._engines:
                raise

    async def close(self) -> None:
        """Ends what runs in the background."""
        if self._renewing is not None:
            self._renewing.cancel()
            with suppress(asyncio.CancelledError, LoaderError):
                await self._renewing

    def _renew_soon(self) -> asyncio.Task[None]:
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.get_running_loop().create_task(self._renew())
            self._renewing.add_done_callback(_told)
        return self._renewing

    async def _renew(self) -> None:
        self._take(await self._described())
        self._renewed_s = time.monotonic()

    async def _described(self) -> list[Engine]:
        """Every engine; with a registry, each as one of its nodes has it."""
        nodes = self._client.nodes
        if not nodes:
            return await self._client.describe(timeout_s=ANSWER_S)
        names = sorted({engine.name for node in nodes for engine in node.engines})
        answers = await asyncio.gather(*(self._version_of(name) for name in names))
        return [engine for engines in answers for engine in engines]

    async def _version_of(self, name: str) -> list[Engine]:
        try:
            return await self._client.describe(name, timeout_s=ANSWER_S)
        except LoaderError as error:
            logger.warning("engine unknown", extra={"engine": name, "error": error.message})
            return []

    def _take(self, engines: Iterable[Engine]) -> None:
        versions: dict[str, list[Engine]] = {}
        for one in engines:
            versions.setdefault(one.name, []).append(one)
        self._engines = {name: served(name, found) for name, found in versions.items()}
        # An engine's own path wins over one that another's wrapper claims.
        self._by_path = {path: one for one in reversed(self.engines) for path in reversed(one.routes)}
        self._by_path |= {one.routes[0]: one for one in self.engines}


def _told(task: asyncio.Task[None]) -> None:
    """Who waits is told; a renewal in the background goes to the log."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("engines unknown", extra={"error": str(error)})

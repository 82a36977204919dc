"""The engines behind the faces: what each takes, and the paths at which it is called.

Knows `Describe`; refuses to know requests. What is known is used at once and renewed in the background; only a path
that nobody knows waits for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from loader.client import Target
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
    version: str = ""  # empty: any, by weight

    @property
    def target(self) -> Target:
        """What is called."""
        return Target(self.name, self.version)

    @property
    def aiges_schema(self) -> Mapping[str, Any]:
        """As its AIGES wrapper publishes it; empty: it has none."""
        schema = mapping(mapping(self.declaration.get("aiges")).get("schema"))
        return schema if mapping(schema.get("schemainput")) else {}

    def takes_parameter(self, name: str) -> bool:
        """Whether what nobody asked for may be passed: the sid, a header."""
        return not self.parameters or name in self.parameters


def served(versions: list[Engine]) -> list[Served]:
    """One engine, of which there is at least one version: the first says what it takes.

    A path that one version of several names alone leads to that version: it is in the path, mostly.
    """
    own = f"/v1/private/{versions[0].name}"
    named = [_routes(mapping(one.declaration.get("aiges"))) for one in versions]
    counts = Counter(route for routes in named for route in dict.fromkeys(routes))
    alone = {route for route in counts if counts[route] == 1 < len(versions)} - {own}
    shared = (route for routes in named for route in routes if route not in alone)
    found = [_served(versions[0], [own, *shared])]
    for one, routes in zip(versions, named, strict=True):
        if only := [route for route in routes if route in alone]:
            found.append(_served(one, only, one.version))
    return found


def _served(engine: Engine, routes: Iterable[str], version: str = "") -> Served:
    declared = engine.declaration
    parameters, inputs = _types(declared.get("parameters"), "name"), _types(declared.get("inputs"), "key")
    return Served(engine.name, tuple(dict.fromkeys(routes)), parameters, inputs, declared, version)


def _routes(said: Mapping[str, Any]) -> list[str]:
    """What an AIGES wrapper says of its paths."""
    meta = mapping(mapping(said.get("schema")).get("meta"))
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


def mapping(value: object) -> Mapping[str, Any]:
    """What a declaration says there; empty where it says something else."""
    return value if isinstance(value, Mapping) else {}


class Catalog:
    """The engines of a client's loader, or of all loaders of its registry."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._known: list[Engine] = []
        self._by_path: dict[str, Served] = {}
        self._renewed_s = float("-inf")
        self._renewing: asyncio.Task[None] | None = None
        self.engines: list[Served] = []  # known now, by name; one for each version that has paths of its own

    @property
    def count(self) -> int:
        """How many engines are known."""
        return len({one.name for one in self._known})

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
            await self.ask()
        except LoaderError:
            if not self._known:
                raise

    async def ask(self) -> None:
        """As `renew`. Raises: LoaderError where nobody answers, whatever is known."""
        await asyncio.shield(self._renew_soon())

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
        """Every engine; with a registry, each version as one of its nodes has it."""
        nodes = self._client.nodes
        if not nodes:
            return await self._client.describe(timeout_s=ANSWER_S)
        listed = sorted({(one.name, one.version) for node in nodes for one in node.engines})
        answers = await asyncio.gather(*(self._ask_for(*one) for one in listed), return_exceptions=True)
        failures = [one for one in answers if isinstance(one, BaseException)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        found: dict[tuple[str, str], Engine] = {}
        for wanted, answer in zip(listed, answers, strict=True):
            # A path is not gone because its nodes do not answer now: a call hears why.
            kept = (one for one in self._known if (one.name, one.version) == wanted)
            for one in kept if isinstance(answer, BaseException) else answer:
                found.setdefault((one.name, one.version), one)
        return list(found.values())

    async def _ask_for(self, name: str, version: str) -> list[Engine]:
        try:
            return await self._client.describe(name, version=version, timeout_s=ANSWER_S)
        except LoaderError as error:
            logger.warning("engine unknown", extra={"engine": name, "error": error.message})
            raise

    def _take(self, engines: list[Engine]) -> None:
        versions: dict[str, list[Engine]] = {}
        for one in engines:
            versions.setdefault(one.name, []).append(one)
        self._known = engines
        self.engines = [one for name in sorted(versions) for one in served(versions[name])]
        # An engine's own path wins over one that another's wrapper claims.
        self._by_path = {path: one for one in reversed(self.engines) for path in reversed(one.routes)}
        self._by_path |= {one.routes[0]: one for one in self.engines if not one.version}


def _told(task: asyncio.Task[None]) -> None:
    """Who waits is told; a renewal in the background goes to the log."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("engines unknown", extra={"error": str(error)})

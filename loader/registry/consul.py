"""A registry in Consul: each node is a service instance with a TTL check, its entry in the service's Meta.

Knows Consul's agent and health; refuses to know what the engines are.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from loader.consul_link import CALL_S, ConsulLink, ConsulLocation
from loader.errors import LoaderError, RegistryUnreachableError
from loader.registry.values import changes, entry_from, entry_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from loader.consul_link import ConsulAccess
    from loader.registry.protocol import NodeEntry

logger = logging.getLogger(__name__)

TTL_S = 10
FORGET = "1m"  # the least that Consul takes
WAIT_S = 5  # of a blocking query; Consul adds up to a sixteenth
CHUNK = 512  # Consul's limit of one value in Meta
MOST_CHUNKS = 60  # of 64 keys


class ConsulRegistry:
    """The nodes of one service in Consul."""

    def __init__(self, url: str, access: ConsulAccess, *, ttl_s: float = TTL_S) -> None:
        self.beat_s = ttl_s / 3
        self._ttl_s = ttl_s
        location = ConsulLocation.parse(url)
        self.url = url
        self._service = location.path.rpartition("/")[2]
        self._link = ConsulLink(location, access, RegistryUnreachableError)
        self._announced: dict[str, Any] | None = None

    async def announce(self, entry: NodeEntry) -> None:
        """As Registry.announce."""
        self._announced = self._service_of(entry)
        await self._register()

    async def beat(self) -> None:
        """As Registry.beat: an agent that has forgotten us says so by an error."""
        if self._announced is None:
            return
        check = f"service:{self._announced['service_id']}"
        is_known = await self._link.call(lambda consul: _is_known(consul, check))
        if not is_known:
            await self._register()

    async def withdraw(self) -> None:
        """As Registry.withdraw."""
        if self._announced is None:
            return
        service_id = self._announced["service_id"]
        await self._link.call(lambda consul: _deregister(consul, service_id))
        self._announced = None

    async def nodes(self) -> list[NodeEntry]:
        """As Registry.nodes."""
        return (await self._read(0))[1]

    def watch(self) -> AsyncGenerator[list[NodeEntry] | LoaderError, None]:
        """As Registry.watch: blocking queries on the healthy instances."""
        return changes(self._link.follow(self._read))

    async def close(self) -> None:
        """As Registry.close."""
        await self._link.close()

    # ---- inside

    def _service_of(self, entry: NodeEntry) -> dict[str, Any]:
        host, _, port = entry.address.rpartition(":")
        text = entry_text(entry)
        chunks = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
        if len(chunks) > MOST_CHUNKS:
            raise RegistryUnreachableError(
                f"the entry of {entry.node} has {len(text)} characters: Consul takes {CHUNK * MOST_CHUNKS}: "
                "announce fewer capabilities"
            )
        meta = {f"loader_{number}": chunk for number, chunk in enumerate(chunks)}
        return {
            "name": self._service,
            "service_id": f"{self._service}-{entry.node}",
            "address": host.strip("[]"),
            "port": int(port),
            "tags": sorted({one.name for one in entry.engines}),
            "meta": {**meta, "zone": entry.zone, "node": entry.node},
            "check": {
                "TTL": f"{self._ttl_s:g}s",
                "DeregisterCriticalServiceAfter": FORGET,
                "Status": "passing",
            },
        }

    async def _register(self) -> None:
        assert self._announced is not None
        announced = self._announced
        await self._link.call(lambda consul: consul.agent.service.register(**announced))

    async def _read(self, index: int) -> tuple[int, list[NodeEntry]]:
        limit_s = WAIT_S * 17 / 16 + CALL_S if index else CALL_S
        now, rows = await self._link.call(
            lambda consul: consul.health.service(
                self._service, passing=True, index=index or None, wait=f"{WAIT_S}s"
            ),
            limit_s,
        )
        found = [entry for row in rows if (entry := _entry(row["Service"].get("Meta") or {}))]
        return int(now or 0), sorted(found, key=lambda one: one.node)


def _entry(meta: dict[str, str]) -> NodeEntry | None:
    chunks: list[str] = []
    while (chunk := meta.get(f"loader_{len(chunks)}")) is not None:
        chunks.append(chunk)
    return entry_from("".join(chunks)) if chunks else None  # somebody else's instance of that name


async def _is_known(consul: Any, check: str) -> bool:
    from consul import ConsulException

    try:
        return bool(await consul.agent.check.ttl_pass(check))
    except ConsulException as error:
        logger.info("announcing again", extra={"reason": str(error)})
        return False


async def _deregister(consul: Any, service_id: str) -> None:
    from consul import NotFound

    try:
        await consul.agent.service.deregister(service_id)
    except NotFound:
        return

"""The loaders of a service and what their AdminService says; found by address or by the registry.

Knows gRPC and the registry; refuses to know configurations.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from loader.errors import InvalidArgumentError, LoaderError
from loader.registry import open_registry
from loader.v1 import admin_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from loader.consul_link import ConsulAccess
    from loader.registry import Registry

CALL_S = 10.0


class NodeError(LoaderError):
    """A loader refused a call of AdminService, or could not be reached."""


@dataclass(frozen=True, slots=True)
class Node:
    """One loader."""

    name: str  # the address where the name is not known
    address: str


@dataclass(slots=True)
class Nodes:
    """Calls the loaders at given addresses, or those that the registry knows now."""

    addresses: Sequence[str] = ()
    registry: Registry | None = None
    tls: Any = None
    _channels: dict[str, Any] = field(default_factory=dict)

    async def all(self) -> list[Node]:
        """Every loader. Raises: RegistryUnreachableError; InvalidArgumentError where there is none."""
        if self.addresses:
            return [Node(address, address) for address in self.addresses]
        if self.registry is None:
            raise InvalidArgumentError(
                "no loader to ask: the service has no registry: give the HOST:PORT of each loader"
            )
        found = [Node(one.node, one.address) for one in await self.registry.nodes()]
        if not found:
            raise InvalidArgumentError(
                f"{self.registry.url}: no loader is announced: start one, or give its HOST:PORT"
            )
        return found

    async def one(self, name: str) -> Node:
        """The loader with a name or an address. Raises: InvalidArgumentError."""
        if ":" in name:
            return Node(name, name)
        known = await self.all()
        for node in known:
            if node.name == name:
                return node
        raise InvalidArgumentError(
            f"node {name} is not announced: there are {', '.join(one.name for one in known)}; "
            "a node that drains is not announced: give its address"
        )

    async def call(self, node: Node, method: str, request: Any, timeout_s: float = CALL_S) -> Any:
        """One answer of AdminService. Raises: NodeError."""
        try:
            return await getattr(self._stub(node), method)(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise node_error(node, error) from None

    async def each(self, method: str, request: Any) -> list[tuple[Node, Any]]:
        """The answers of all loaders, by node. Raises: as all() and call()."""
        nodes = await self.all()
        answers = await asyncio.gather(*(self.call(node, method, request) for node in nodes))
        return list(zip(nodes, answers, strict=True))

    async def answering(self, method: str, request: Any) -> tuple[list[tuple[Node, Any]], list[NodeError]]:
        """The answers of those that give one, and why the others do not.

        Raises: as all(); NodeError where none does.
        """

        async def ask(node: Node) -> tuple[Node, Any] | NodeError:
            try:
                return node, await self.call(node, method, request)
            except NodeError as error:
                return error

        said = await asyncio.gather(*(ask(node) for node in await self.all()))
        answers = [one for one in said if not isinstance(one, NodeError)]
        errors = [one for one in said if isinstance(one, NodeError)]
        if not answers:
            raise errors[0]
        return answers, errors

    async def stream(self, node: Node, method: str, request: Any) -> AsyncGenerator[Any, None]:
        """The answers of a streaming method, until it ends. Raises: NodeError."""
        try:
            async for answer in getattr(self._stub(node), method)(request):
                yield answer
        except grpc.RpcError as error:
            raise node_error(node, error) from None

    async def close(self) -> None:
        """Ends every connection."""
        for channel in self._channels.values():
            await channel.close()
        if self.registry is not None:
            await self.registry.close()

    def _stub(self, node: Node) -> Any:
        if node.address not in self._channels:
            make = grpc.aio.secure_channel if self.tls else grpc.aio.insecure_channel
            self._channels[node.address] = make(node.address, *((self.tls,) if self.tls else ()))
        return admin_pb2_grpc.AdminServiceStub(self._channels[node.address])


def node_error(node: Node, error: Any) -> NodeError:
    """One sentence with the next step."""
    code = error.code()
    name = node.address if node.name == node.address else f"{node.name} ({node.address})"
    cure = {
        grpc.StatusCode.UNAVAILABLE: ": is it running there? does it want --ca, --certificate, --key?",
        grpc.StatusCode.DEADLINE_EXCEEDED: ": it has not answered in time: is it a loader, and does it want --ca?",
        grpc.StatusCode.PERMISSION_DENIED: ": ask on its own machine, or at its admin_listen",
    }.get(code, "")
    return NodeError(f"{name}: {code.name}: {error.details()}{cure}")


@asynccontextmanager
async def open_nodes(
    addresses: Sequence[str], registry_url: str, access: ConsulAccess, tls: Any = None
) -> AsyncIterator[Nodes]:
    """The loaders at `addresses`, or without any those of a registry; closed at the end."""
    registry = open_registry(registry_url, access) if registry_url and not addresses else None
    nodes = Nodes(tuple(addresses), registry, tls)
    try:
        yield nodes
    finally:
        await nodes.close()

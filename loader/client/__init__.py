"""The client: one-shot calls and sessions on the engines of a loader.

Responsible for names only. Nothing of the server is imported, and gRPC only when a client is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loader.client.aio import AsyncClient as AsyncClient
    from loader.client.aio import AsyncSession as AsyncSession
    from loader.client.failures import ConnectionFailedError as ConnectionFailedError
    from loader.client.messages import Engine as Engine
    from loader.client.messages import Final as Final
    from loader.client.messages import Opened as Opened
    from loader.client.messages import Target as Target
    from loader.client.sync import Client as Client
    from loader.client.sync import ClientSession as ClientSession
    from loader.client.values import Result as Result
    from loader.client.values import ResultItem as ResultItem
    from loader.consul_link import ConsulAccess as ConsulAccess
    from loader.wrapper import Item as Item

_HOMES = {
    "AsyncClient": "loader.client.aio",
    "AsyncSession": "loader.client.aio",
    "Client": "loader.client.sync",
    "ClientSession": "loader.client.sync",
    "ConnectionFailedError": "loader.client.failures",
    "ConsulAccess": "loader.consul_link",
    "Engine": "loader.client.messages",
    "Final": "loader.client.messages",
    "Item": "loader.wrapper",
    "Opened": "loader.client.messages",
    "Result": "loader.client.values",
    "ResultItem": "loader.client.values",
    "Target": "loader.client.messages",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'loader.client' has no attribute {name!r}")
    return getattr(import_module(home), name)

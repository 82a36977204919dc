"""Where loaders are announced for clients to find: a directory of leases, or Consul."""

from loader.registry.protocol import EngineEntry, NodeEntry, Registry

__all__ = ["EngineEntry", "NodeEntry", "Registry"]

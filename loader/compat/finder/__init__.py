"""AIGES's finder: configuration and discovery in ZooKeeper, found through a companion that speaks HTTP."""

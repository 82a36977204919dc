"""The service's configuration: a typed schema, reading it with line numbers, and the plan of a change."""

from loader.config.plan import Plan, plan
from loader.config.read import read_config
from loader.config.schema import EngineConfig, ServiceConfig

__all__ = ["EngineConfig", "Plan", "ServiceConfig", "plan", "read_config"]

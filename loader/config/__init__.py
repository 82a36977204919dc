"""The service's configuration: a typed schema, reading it with line numbers, and the plan of a change."""

from loader.config.plan import EnginePlan, Plan, Powers, plan
from loader.config.read import read_config
from loader.config.schema import EngineConfig, ServiceConfig
from loader.config.versions import DeploymentKey, EffectiveConfig, effective

__all__ = [
    "DeploymentKey",
    "EffectiveConfig",
    "EngineConfig",
    "EnginePlan",
    "Plan",
    "Powers",
    "ServiceConfig",
    "effective",
    "plan",
    "read_config",
]

"""The service's configuration: a typed schema, reading it with line numbers, and the plan of a change."""

from loader.config.bootstrap import Bootstrap, read_bootstrap
from loader.config.plan import EnginePlan, Plan, Powers, plan
from loader.config.read import effective_document, read_config, read_documents, validate
from loader.config.schema import EngineConfig, ServiceConfig
from loader.config.versions import DeploymentKey, EffectiveConfig, effective, told_with_place

__all__ = [
    "Bootstrap",
    "DeploymentKey",
    "EffectiveConfig",
    "EngineConfig",
    "EnginePlan",
    "Plan",
    "Powers",
    "ServiceConfig",
    "effective",
    "effective_document",
    "plan",
    "read_bootstrap",
    "read_config",
    "read_documents",
    "told_with_place",
    "validate",
]

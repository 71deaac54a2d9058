"""The model registry: MLflow holds versions, lineage and aliases; the weights stay where they are."""

from opencharacter.registry.config import RegistryConfig
from opencharacter.registry.models import RegisteredModel, Verdict
from opencharacter.registry.promotion import promote
from opencharacter.registry.records import keep_version, kept_version
from opencharacter.registry.registration import register
from opencharacter.registry.server import local_server
from opencharacter.registry.versions import current_champion, list_versions, resolve

__all__ = [
    "RegisteredModel",
    "RegistryConfig",
    "Verdict",
    "current_champion",
    "keep_version",
    "kept_version",
    "list_versions",
    "local_server",
    "promote",
    "register",
    "resolve",
]

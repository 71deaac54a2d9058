"""The model registry: MLflow holds versions, lineage and aliases; the weights stay where they are."""

from opencharacter.registry.deployments import find_alias, read_deployment, record_deployment, record_replaced
from opencharacter.registry.ledger import ComparisonLedger
from opencharacter.registry.mlflow_server import local_server
from opencharacter.registry.promotion import find_objection, promote
from opencharacter.registry.registered_model import Deployment, RegisteredModel, RegistryConfig
from opencharacter.registry.registration import register
from opencharacter.registry.versions import (
    check_registry,
    current_champion,
    keep_version,
    kept_version,
    list_versions,
    resolve,
)
from opencharacter.registry.webhooks import AliasMove, Deliveries, UntrustedDelivery, register_webhook

__all__ = [
    "AliasMove",
    "ComparisonLedger",
    "Deliveries",
    "Deployment",
    "RegisteredModel",
    "RegistryConfig",
    "UntrustedDelivery",
    "check_registry",
    "current_champion",
    "find_alias",
    "find_objection",
    "keep_version",
    "kept_version",
    "list_versions",
    "local_server",
    "promote",
    "read_deployment",
    "record_deployment",
    "record_replaced",
    "register",
    "register_webhook",
    "resolve",
]

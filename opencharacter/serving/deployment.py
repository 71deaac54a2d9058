"""The manifest of a registered model version."""

from collections.abc import Mapping
from typing import Any, Protocol

from opencharacter.kube import cluster_namespace
from opencharacter.serving.config import DeployConfig
from opencharacter.serving.manifest import inference_service, storage_uri_of

UNKNOWN = "unknown"
"""What an annotation says of lineage that a version does not record."""

_LINEAGE_TAGS = ("prompt_hash", "dataset_digest", "base_model", "licences")


class DeployableModel(Protocol):
    """What deployment needs of a registered model version."""

    @property
    def name(self) -> str:
        """Name in the registry."""

    @property
    def version(self) -> int:
        """Version in the registry."""

    @property
    def uri(self) -> str:
        """The model folder."""

    @property
    def digest(self) -> str:
        """Digest of the model folder."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Lineage, as registered."""


def deployment_manifest(config: DeployConfig, model: DeployableModel, *, predictor_name: str = "") -> dict[str, Any]:
    """The InferenceService of a registered model. Raises `UserError` for weights that the cluster cannot fetch."""
    lineage = {"model_name": model.name, "model_version": str(model.version), "model_digest": model.digest or UNKNOWN}
    # Each key is always there: see `inference_service`.
    lineage |= {tag: model.tags.get(tag) or UNKNOWN for tag in _LINEAGE_TAGS}
    storage_uri = storage_uri_of(model.uri, for_cluster=config.apply)
    namespace = config.namespace or cluster_namespace()
    return inference_service(
        config, namespace=namespace, storage_uri=storage_uri, lineage=lineage, predictor_name=predictor_name
    )

"""The deploy step: write the InferenceService of a registered model, and apply it where told to (DESIGN decision 9)."""

import time
from collections.abc import Mapping
from typing import Any, Protocol

import yaml

from opencharacter.engines.cluster import API_TIMEOUT_S, cluster_client, cluster_namespace
from opencharacter.errors import OpenCharacterError
from opencharacter.hashing import digest
from opencharacter.library import fingerprint
from opencharacter.serving.config import DeployConfig
from opencharacter.serving.manifest import GROUP, PLURAL, VERSION, inference_service, storage_uri_of
from opencharacter.storage.workspace import Ref, Workspace

MANIFEST_FILE = "inferenceservice.yaml"

_LINEAGE_TAGS = ("prompt_hash", "dataset_digest", "base_model", "licences")
_FIELD_MANAGER = "opencharacter"


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


def deploy(config: DeployConfig, model: DeployableModel, *, workspace: Workspace) -> Ref:
    """Write the manifest (kind `deployment`, file `inferenceservice.yaml`) and, with `config.apply`, apply it.

    Raises like `deployment_manifest` and `apply_deployment`.
    """
    manifest = deployment_manifest(config, model)
    ref = _write(manifest, workspace)
    if config.apply:
        apply_deployment(manifest)
    return ref


def deployment_manifest(config: DeployConfig, model: DeployableModel) -> dict[str, Any]:
    """The InferenceService of a registered model. Raises `UserError` for weights that the cluster cannot fetch."""
    lineage = {"model_name": model.name, "model_version": str(model.version), "model_digest": model.digest}
    lineage |= {tag: model.tags[tag] for tag in _LINEAGE_TAGS if tag in model.tags}
    storage_uri = storage_uri_of(model.uri, for_cluster=config.apply)
    namespace = config.namespace or cluster_namespace()
    return inference_service(config, namespace=namespace, storage_uri=storage_uri, lineage=lineage)


def _write(manifest: dict[str, Any], workspace: Workspace) -> Ref:
    key = digest({"step": "deploy", "manifest": manifest, "library": fingerprint()})
    if found := workspace.lookup("deployment", key):
        return found
    started = time.monotonic()
    with workspace.produce("deployment", key) as draft:
        text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
        (draft.path / MANIFEST_FILE).write_text(text, encoding="utf-8")
        draft.stats = {"service": manifest["metadata"]["name"], "wall_s": round(time.monotonic() - started, 3)}
    ref = workspace.lookup("deployment", key)
    assert ref is not None
    return ref


def apply_deployment(manifest: dict[str, Any]) -> None:
    """Apply the InferenceService: the cluster merges it server-side, and changes nothing where nothing differs.

    Raises `UserError` without a cluster to apply to, and `OpenCharacterError` where it refuses.
    """
    from kubernetes.client import ApiException

    name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}"
    with cluster_client("deploy") as api:
        try:
            api.call_api(
                path,
                "PATCH",
                query_params=[("fieldManager", _FIELD_MANAGER), ("force", "true")],
                header_params={"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"},
                body=manifest,
                response_type="object",
                auth_settings=["BearerToken"],
                _request_timeout=API_TIMEOUT_S,
            )
        except ApiException as error:
            raise OpenCharacterError(
                f"the cluster refused InferenceService {namespace}/{name}: {error.status} {error.reason}: {error.body}",
                hint=_HINTS.get(error.status),
            ) from error


_HINTS = {
    401: "the credentials are not valid (any more)",
    403: "the account may not patch inferenceservices in this namespace; see the chart's role for the pipeline",
    404: "KServe is not installed in the cluster, or the namespace does not exist",
    422: "the manifest does not fit the KServe version of the cluster",
}

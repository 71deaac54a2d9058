"""The KServe InferenceService of a registered model (docs/design.md, decision 8)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from opencharacter.errors import UserError
from opencharacter.hashing import digest
from opencharacter.kube import cluster_namespace
from opencharacter.serving.deploy_config import DeployConfig

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"

MODEL_FORMAT = "opencharacter"
"""The format that our ServingRuntime claims: vLLM with the transformer beside it, in one pod."""

MODEL_FORMAT_VERSION = "1"

PROTOCOL = "v2"
"""The inference protocol that our ServingRuntime lists. KServe takes a missing one for v1, and then selects no runtime;
its admission checks neither."""

PODS_ANNOTATION = "opencharacter.io/pods"
"""Digest of what decides the pods. KServe copies it to the Deployment's template: a Deployment that bears another one
has not been brought up to date yet."""

_ANNOTATION_PREFIX = "opencharacter.io/"
_KSERVE_PREFIX = "serving.kserve.io/"
_CPU_ARGUMENTS = ("--dtype=float32", "--enforce-eager", "--no-enable-chunked-prefill")
_GROUP_ID = 65532
_CPU_PERCENT = 80
_WAITING_REQUESTS = 4
_CLUSTER_SCHEMES = ("s3://", "gs://", "hf://", "oci://", "pvc://", "https://", "http://")


def inference_service(
    config: DeployConfig, *, namespace: str, storage_uri: str, lineage: Mapping[str, str], predictor_name: str = ""
) -> dict[str, Any]:
    """The InferenceService, ready to be applied to a namespace.

    `lineage` (model name and version, digests, hashes) becomes annotations, so that any running server says what it
    serves. KServe copies annotations of the InferenceService to the pods of every predictor, where those of the
    predictor itself win: with each key in both places, a predictor's pods stay as they are when the other ones change.
    `predictor_name` is KServe's `predictor.name`; empty for the one that is called after the service alone.
    """
    annotations = {_ANNOTATION_PREFIX + name.replace("_", "-"): value for name, value in sorted(lineage.items())}
    annotations[_KSERVE_PREFIX + "autoscalerClass"] = _autoscaler(config)
    pods = {"model": model_spec(config, storage_uri=storage_uri), **_pod(config)}
    predictor = {
        **({"name": predictor_name} if predictor_name else {}),
        **pods,
        "annotations": annotations | {PODS_ANNOTATION: digest([pods, annotations])},
        **_scaling(config, namespace),
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": config.service_name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": MODEL_FORMAT, "app.kubernetes.io/managed-by": MODEL_FORMAT},
            "annotations": annotations | {_KSERVE_PREFIX + "deploymentMode": "Standard"},
        },
        "spec": {"predictor": predictor},
    }


def model_spec(config: DeployConfig, *, storage_uri: str) -> dict[str, Any]:
    """The predictor's `model`, by which KServe selects a runtime."""
    limits = {"memory": config.memory}
    if config.gpus:
        limits["nvidia.com/gpu"] = str(config.gpus)
    model: dict[str, Any] = {
        "modelFormat": {"name": MODEL_FORMAT, "version": MODEL_FORMAT_VERSION},
        "protocolVersion": PROTOCOL,
        "storageUri": storage_uri,
        # No limit of CPU: it would throttle. (KServe adds its own default to its old predictor kinds only.)
        "resources": {"requests": {"cpu": config.cpu, **limits}, "limits": limits},
    }
    if arguments := _engine_arguments(config):
        model["args"] = arguments
    return model


def _engine_arguments(config: DeployConfig) -> list[str]:
    """vLLM's arguments besides the runtime's own."""
    arguments = list(_CPU_ARGUMENTS) if config.gpus == 0 else []
    if config.gpus > 1:
        arguments.append(f"--tensor-parallel-size={config.gpus}")
    if config.max_model_len:
        arguments.append(f"--max-model-len={config.max_model_len}")
    return arguments


def _pod(config: DeployConfig) -> dict[str, Any]:
    """What a ServingRuntime cannot hold: how long the pod may take to end, and its own security context.

    KServe's init container needs that context too.
    """
    return {
        "terminationGracePeriodSeconds": config.grace_seconds,
        "serviceAccountName": config.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": _GROUP_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _autoscaler(config: DeployConfig) -> str:
    """KServe's class: none for a fixed number of pods, which needs no autoscaler to hold it."""
    if config.max_replicas in (None, config.min_replicas):
        return "none"
    return "hpa" if config.scale_on == "cpu" else "keda"


def _scaling(config: DeployConfig, namespace: str) -> dict[str, Any]:
    scaling: dict[str, Any] = {
        "minReplicas": config.min_replicas,
        "maxReplicas": config.max_replicas or config.min_replicas,
    }
    match _autoscaler(config):
        case "hpa":
            scaling |= {"scaleMetric": "cpu", "scaleTarget": config.scale_target or _CPU_PERCENT}
        case "keda":
            query = f'sum(vllm:num_requests_waiting{{namespace="{namespace}",model_name="{config.service_name}"}})'
            metric = {
                "type": "External",
                "external": {
                    "metric": {"backend": "prometheus", "serverAddress": config.prometheus_url, "query": query},
                    "target": {"type": "Value", "value": str(config.scale_target or _WAITING_REQUESTS)},
                },
            }
            scaling["autoScaling"] = {"metrics": [metric]}
    return scaling


def storage_uri_of(weights: str, *, for_cluster: bool) -> str:
    """The storageUri of a model's weights.

    A folder of this machine becomes a `file://` URI, which shows in the manifest but is of no use to a cluster:
    `for_cluster` raises `UserError` for it.
    """
    if weights.startswith(_CLUSTER_SCHEMES):
        return weights
    if "://" in weights and not weights.startswith("file://"):
        scheme = weights.split("://")[0]
        raise UserError(f"weights at '{weights}': KServe cannot fetch '{scheme}://'", hint=f"one of {_CLUSTER_SCHEMES}")
    if for_cluster:
        raise UserError(
            f"weights at '{weights}' are on this machine, where the cluster cannot fetch them",
            hint="run with the workspace on object storage, or set deploy.apply to false to write the manifest only",
        )
    return "file://" + quote(str(Path(weights.removeprefix("file://")).resolve()))


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

"""The KServe InferenceService of a registered model (DESIGN decision 8)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from opencharacter.errors import UserError
from opencharacter.serving.config import DeployConfig

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"

MODEL_FORMAT = "opencharacter"
"""The format that our ServingRuntime claims: vLLM with the transformer beside it, in one pod."""

_ANNOTATION_PREFIX = "opencharacter.io/"
_CLUSTER_SCHEMES = ("s3://", "gs://", "hf://", "oci://", "pvc://", "https://", "http://")


def inference_service(config: DeployConfig, *, storage_uri: str, lineage: Mapping[str, str]) -> dict[str, Any]:
    """The InferenceService, ready to be applied.

    `lineage` (model name and version, digests, hashes) becomes annotations, which KServe copies to the pods: any
    running server tells what it serves.
    """
    resources: dict[str, str] = {"cpu": config.cpu, "memory": config.memory}
    if config.gpus:
        resources["nvidia.com/gpu"] = str(config.gpus)
    model: dict[str, Any] = {
        "modelFormat": {"name": MODEL_FORMAT},
        "storageUri": storage_uri,
        "resources": {"requests": resources, "limits": dict(resources)},
    }
    if config.max_model_len:
        model["args"] = [f"--max-model-len={config.max_model_len}"]
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "InferenceService",
        "metadata": {
            "name": config.service_name,
            "namespace": config.namespace,
            "labels": {"app.kubernetes.io/name": MODEL_FORMAT, "app.kubernetes.io/managed-by": MODEL_FORMAT},
            "annotations": {
                _ANNOTATION_PREFIX + name.replace("_", "-"): value for name, value in sorted(lineage.items())
            }
            | {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {"predictor": {"model": model}},
    }


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

"""The stable address: a Service of ours, called after the InferenceService, that selects the current version's pods.

KServe's own Service changes its name with the version. Ours bears neither of the labels by which KServe finds the
Services of predictors: it deletes those that it doesn't know.
"""

from typing import Any

from opencharacter.serving.manifest import GROUP, MODEL_FORMAT, VERSION
from opencharacter.serving.names import pod_label

Object = dict[str, Any]

PORT = 80
_TRANSFORMER_PORT = 8080
_MANAGED = "app.kubernetes.io/managed-by"


def address_of(service: str, namespace: str) -> str:
    """The URL inside the cluster."""
    return f"http://{service}.{namespace}"


def is_ours(service: Object) -> bool:
    """Whether a Service of that name is this address, and no other program's."""
    return (service["metadata"].get("labels") or {}).get(_MANAGED) == MODEL_FORMAT


def selects(service: Object | None) -> str | None:
    """The label `app` of the pods behind the address."""
    return ((service or {}).get("spec", {}).get("selector") or {}).get("app")


def address_service(owner: Object, predictor: str) -> Object:
    """The Service, behind which are a predictor's pods. It is deleted with the InferenceService `owner`."""
    metadata = owner["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {
                "app.kubernetes.io/name": MODEL_FORMAT,
                "app.kubernetes.io/component": "address",
                _MANAGED: MODEL_FORMAT,
            },
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "InferenceService",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "spec": {
            "selector": {"app": pod_label(metadata["name"], predictor)},
            "ports": [{"name": "http", "port": PORT, "targetPort": _TRANSFORMER_PORT, "protocol": "TCP"}],
        },
    }

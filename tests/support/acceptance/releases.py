"""Installing the chart in a session of the acceptance suite, and taking it away."""

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from support.acceptance.kube import (
    ACCOUNTS,
    CLAIMS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    DEPLOYMENTS,
    JOBS,
    LEASES,
    ROLE_BINDINGS,
    ROLES,
    SERVICES,
)
from support.acceptance.programs import Ended
from support.acceptance.suite import CHART, Suite

MLFLOW = "http://opencharacter-mlflow:5000"
"""MLflow's address for pods of the release's namespace."""

CLAIM = "opencharacter-mlflow"
"""The volume claim that the chart keeps when it is uninstalled."""

_SERVICE = re.compile(r"(?P<name>[a-z][-a-z0-9]*)(\.(?P<namespace>[-a-z0-9]+)(\.svc(\..*)?)?)?")
"""A host that may be a Service's; one that is another's is not found there."""


@dataclass(frozen=True)
class Release:
    """The chart's objects in a namespace."""

    name: str
    namespace: str
    local_mlflow: str
    """MLflow's address on this machine."""
    secret: str
    account: str
    """Service account of the model servers."""
    ours: bool
    """Whether this session has installed it."""


def is_installed(suite: Suite, namespace: str) -> bool:
    """Whether a release of the chart is in a namespace; its objects' names leave room for one."""
    return suite.kube.get(f"{DEPLOYMENTS.format(namespace)}/opencharacter-mlflow") is not None


def install(
    suite: Suite, name: str, namespace: str, values: dict[str, Any], *, base: str = "values-trial.yaml"
) -> Ended:
    """Install the chart and wait for it; it goes at the session's end, with the volume claim that it keeps."""
    runner = suite.kube.get(f"{ACCOUNTS.format(namespace)}/pipeline-runner")
    values = values | {"pipeline": {"serviceAccount": "pipeline-runner" if runner else "default-editor"}}
    file = suite.write(f"values-{namespace}-{name}.yaml", values)
    before = {path: _uid(suite, path) for path in _not_helms(namespace)}
    suite.ledger.will_undo(f"what helm leaves of {namespace}/{name}", lambda: _remove_the_rest(suite, before))
    suite.ledger.will_undo(f"release {namespace}/{name}", lambda: _remove(suite, name, namespace))
    words = ["install", name, str(CHART), "--namespace", namespace, "--values", str(CHART / base)]
    return suite.helm(*words, "--values", str(file), "--wait", "--timeout", "5m", seconds=360)


def upgrade(suite: Suite, name: str, namespace: str, values: dict[str, Any]) -> Ended:
    """Change values of a release of this session, and wait for it."""
    file = suite.write(f"upgrade-{namespace}-{name}.yaml", values)
    words = ["upgrade", name, str(CHART), "--namespace", namespace, "--reuse-values", "--values", str(file)]
    return suite.helm(*words, "--wait", "--timeout", "5m", seconds=360)


def _remove(suite: Suite, name: str, namespace: str) -> None:
    suite.helm("uninstall", name, "--namespace", namespace, "--ignore-not-found", "--wait").expect()
    path = f"{CLAIMS.format(namespace)}/{CLAIM}"
    claim = suite.kube.get(path) or {}
    annotations = claim.get("metadata", {}).get("annotations") or {}
    if annotations.get("meta.helm.sh/release-name") == name:
        suite.kube.delete(path, uid=claim["metadata"]["uid"])


def _not_helms(namespace: str) -> list[str]:
    """What `helm uninstall` does not take away: hooks of an install that failed or was broken off, and the Lease."""
    check, whole = "opencharacter-preflight", f"opencharacter-preflight-{namespace}"
    inside = (JOBS, ROLE_BINDINGS, ROLES, ACCOUNTS)
    return [
        *(f"{path.format(namespace)}/{check}" for path in inside),
        f"{CLUSTER_ROLE_BINDINGS}/{whole}",
        f"{CLUSTER_ROLES}/{whole}",
        f"{LEASES.format(namespace)}/opencharacter-promoter",
    ]


def _remove_the_rest(suite: Suite, before: dict[str, str | None]) -> None:
    for path, uid in before.items():
        found = _uid(suite, path)
        if found and found != uid:
            suite.kube.delete(path, uid=found)


def _uid(suite: Suite, path: str) -> str | None:
    uid = ((suite.kube.get(path) or {}).get("metadata") or {}).get("uid")
    return str(uid) if uid else None


def preflight_bucket(suite: Suite) -> str:
    """What the chart's check writes to from a namespace of the session's own.

    Nothing, where the store is a Service of the runs' namespace: Kubeflow Pipelines' own lets no other namespace in.
    """
    return "" if suite.settings.s3_service else f"{suite.prefix}/preflight"


def forget_model(name: str) -> None:
    """Delete a registered model and the experiment of that name from MLflow, which stays."""
    from opencharacter.registry.client import mlflow_client
    from opencharacter.tracking import is_missing

    with mlflow_client() as client:
        try:
            client.delete_registered_model(name)
        except Exception as error:
            if not is_missing(error):
                raise
        if experiment := client.get_experiment_by_name(name):
            client.delete_experiment(experiment.experiment_id)


def serving_account(name: str, secret: str) -> dict[str, Any]:
    """A service account whose Secret KServe's storage initializer reads the weights with."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name},
        "automountServiceAccountToken": False,
        "secrets": [{"name": secret}],
    }


def s3_secret(suite: Suite, name: str) -> dict[str, Any]:
    """The Secret of the object store, with the annotations that KServe's storage initializer reads."""
    address = urlsplit(suite.pod_s3 or f"https://s3.{suite.region}.amazonaws.com")
    annotations = {
        "serving.kserve.io/s3-endpoint": address.netloc,
        "serving.kserve.io/s3-region": suite.region,
        "serving.kserve.io/s3-usehttps": "1" if address.scheme == "https" else "0",
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "annotations": annotations},
        "stringData": {key: os.environ[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")},
    }


def chart_values(suite: Suite, *, secret: str) -> dict[str, Any]:
    """Values of the chart besides values-trial.yaml: our images, the store, small sizes."""
    images = {key: value for key, value in suite.images.items() if key in ("registry", "tag", "digests")}
    engine: dict[str, Any] = {"cpu": "1", "memory": "5Gi", "shm": "256Mi", "scratch": "2Gi"}
    engine |= {"image": suite.settings.engine_image or suite.image("synthesis")}
    if not suite.settings.engine_image:
        engine["runAsUser"] = 65532
    return {
        "images": images | {"pullPolicy": suite.settings.pull_policy},
        "s3": {"secretName": secret, "region": suite.region, "endpoint": suite.pod_s3 or ""},
        "mlflow": {"resources": {"cpu": "200m", "memory": "1536Mi"}, "persistence": {"size": "1Gi"}},
        "serving": {"engine": engine, "transformer": {"cpu": "100m", "memory": "512Mi"}},
        "networkPolicies": {"egress": {"ports": _ports_of_store(suite)}},
    }


def _ports_of_store(suite: Suite) -> list[int]:
    """Ports that pods need open towards the store: behind a Service its pods' too, where policies apply there."""
    address = urlsplit(suite.pod_s3 or "https://")
    ports = {443, address.port or (443 if address.scheme == "https" else 80)}
    if named := _SERVICE.fullmatch(address.hostname or ""):
        path = f"{SERVICES.format(named['namespace'] or suite.namespace)}/{named['name']}"
        declared = ((suite.kube.get(path) or {}).get("spec") or {}).get("ports") or []
        ports |= {port["targetPort"] for port in declared if isinstance(port.get("targetPort"), int)}
    return sorted(ports)


def production_values(suite: Suite, *, queues: bool, monitors: bool) -> dict[str, Any]:
    """What a cluster without GPUs needs over values-production.yaml."""
    values = chart_values(suite, secret="opencharacter-s3")
    parts = ["kserve", "pipelines", *(["kueue"] if queues else [])]
    return values | {
        "mlflow": {
            "resources": {"cpu": "100m", "memory": "1536Mi"},
            "workers": 1,
            "artifacts": {"root": f"{suite.prefix}/mlflow"},
        },
        "monitoring": {"serviceMonitor": {"enabled": monitors}},
        "preflight": {"gpus": 0, "needs": parts, "bucket": preflight_bucket(suite)},
        "kueue": {"enabled": queues},
    }


def promoter_values(model: str, section: dict[str, Any]) -> dict[str, Any]:
    """Values of the promoter that follows a model; the chart adds the namespace, and always applies."""
    deploy = {key: value for key, value in section.items() if key not in ("apply", "namespace")}
    return {"promoter": {"enabled": True, "models": [{"model": model, "deploy": deploy}], "pollSeconds": 5}}

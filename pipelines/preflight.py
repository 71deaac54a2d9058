"""What a cluster lacks for a run, told in plain words before anything is installed or submitted."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from opencharacter.engines.cluster import API_TIMEOUT_S, cluster_client
from opencharacter.errors import OpenCharacterError
from opencharacter.pipelines.cluster import STEPS, ClusterProfile
from opencharacter.serving.manifest import MODEL_FORMAT
from opencharacter.storage.workspace import Workspace

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Part = Literal["kserve", "pipelines", "trainer", "kueue"]

_APIS: dict[Part, tuple[str, dict[str, str]]] = {
    "kserve": (
        "KServe",
        {"serving.kserve.io/v1beta1": "inferenceservices", "serving.kserve.io/v1alpha1": "servingruntimes"},
    ),
    "pipelines": (
        "Kubeflow Pipelines",
        {"argoproj.io/v1alpha1": "workflows", "kubeflow.org/v1beta1": "scheduledworkflows"},
    ),
    "trainer": (
        "Kubeflow Trainer",
        {"trainer.kubeflow.org/v1alpha1": "trainjobs", "jobset.x-k8s.io/v1alpha2": "jobsets"},
    ),
    "kueue": ("Kueue", {"kueue.x-k8s.io/v1beta2": "localqueues"}),
}


class SecretNeed(BaseModel):
    """A Secret, and the keys that it must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    keys: tuple[str, ...] = ()


class Needs(BaseModel):
    """What the cluster is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field(default="default", pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    parts: tuple[Part, ...] = ()
    gpus: Literal[0, 1, 2, 4, 8, 16] = Field(default=0, description="on one node")
    gpu_type: str = "nvidia.com/gpu"
    secrets: tuple[SecretNeed, ...] = ()
    runtime: str | None = Field(default=None, description="a ServingRuntime that must serve our model format")
    bucket: str | None = Field(default=None, pattern=r"^s3://[^/]+(/.*)?$", description="s3://BUCKET/PREFIX")


def needs_of(profile: ClusterProfile) -> Needs:
    """What the steps of a run with this profile ask the cluster for; Secrets that may be absent are left out."""
    placements = [profile.placement(step) for step in STEPS]
    largest = max(placements, key=lambda placement: placement.gpus)
    parts: list[Part] = ["pipelines"]
    parts += ["trainer"] if any((placement.nodes or 1) > 1 for placement in placements) else []
    parts += ["kueue"] if any(placement.queue for placement in placements) else []
    secrets = {source.secret: tuple(source.keys) for source in profile.secrets if not source.optional}
    secrets |= dict.fromkeys(profile.images.pull_secrets, ())
    return Needs(
        namespace=profile.namespace,
        parts=tuple(parts),
        gpus=largest.accelerator.count if largest.accelerator else 0,
        gpu_type=largest.accelerator.type if largest.accelerator else Needs().gpu_type,
        secrets=tuple(SecretNeed(name=name, keys=keys) for name, keys in secrets.items()),
    )


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    subject: str
    state: Literal["ok", "missing", "unknown"]
    """`unknown`: this account may not look."""
    message: str
    hint: str | None = None


def check_cluster(needs: Needs) -> list[Finding]:
    """Look for everything that is needed; nothing is changed but one small object, `.conditional-writes` in the bucket.

    Raises `UserError` where no cluster is configured, `OpenCharacterError` where it cannot be reached. The bucket is
    reached with the `AWS_*` variables of this process.
    """
    findings: list[Finding] = []
    with cluster_client("preflight") as api:
        findings += [_guarded(_APIS[part][0], partial(_part, api, part)) for part in needs.parts]
        if needs.gpus:
            findings.append(_guarded("GPU", partial(_gpus, api, needs)))
        for secret in needs.secrets:
            subject = f"Secret {needs.namespace}/{secret.name}"
            findings.append(_guarded(subject, partial(_secret, api, needs.namespace, secret)))
        if needs.runtime:
            subject = f"ServingRuntime {needs.namespace}/{needs.runtime}"
            findings.append(_guarded(subject, partial(_runtime, api, needs.namespace, needs.runtime)))
    if needs.bucket:
        findings.append(_bucket(needs.bucket))
    return findings


def _guarded(subject: str, check: Callable[[], Finding]) -> Finding:
    from kubernetes.client import ApiException

    try:
        return check()
    except ApiException as error:
        if error.status in (401, 403):
            return Finding(subject, "unknown", f"this account may not look ({error.status} {error.reason})")
        return Finding(subject, "unknown", f"the cluster answers {error.status} {error.reason}")


def _read(api: "ApiClient", path: str) -> Any:
    """The object at a path; none if there is no such thing."""
    from kubernetes.client import ApiException

    try:
        answer = api.call_api(
            path, "GET", response_type="object", auth_settings=["BearerToken"], _request_timeout=API_TIMEOUT_S
        )
    except ApiException as error:
        if error.status == 404:
            return None
        raise
    return answer[0]


def _part(api: "ApiClient", part: Part) -> Finding:
    """Discovery, which every account may read, tells which custom resources are served."""
    subject, wanted = _APIS[part]
    absent = []
    for group_version, resource in wanted.items():
        served = _read(api, f"/apis/{group_version}") or {"resources": []}
        if resource not in {each["name"] for each in served["resources"]}:
            absent.append(f"{resource} ({group_version})")
    if absent:
        return Finding(
            subject, "missing", f"the cluster does not serve {' and '.join(absent)}", "docs/install.md, step 'Platform'"
        )
    return Finding(subject, "ok", f"serves {' and '.join(wanted.values())}")


def _gpus(api: "ApiClient", needs: Needs) -> Finding:
    most = max(_allocatable(_read(api, "/api/v1/nodes"), needs.gpu_type), default=0)
    if most >= needs.gpus:
        return Finding("GPU", "ok", f"a node offers {most} of {needs.gpu_type}")
    offered = f"the best node offers {most}" if most else "no node offers any"
    return Finding(
        "GPU",
        "missing",
        f"{needs.gpus} of {needs.gpu_type} on one node are needed; {offered}",
        "is the GPU's device plugin installed, and does the autoscaler keep a node of the pool?",
    )


def _allocatable(nodes: Any, gpu_type: str) -> Iterator[int]:
    for node in (nodes or {}).get("items", []):
        yield int(node.get("status", {}).get("allocatable", {}).get(gpu_type, 0))


def _secret(api: "ApiClient", namespace: str, need: SecretNeed) -> Finding:
    subject = f"Secret {namespace}/{need.name}"
    found = _read(api, f"/api/v1/namespaces/{namespace}/secrets/{need.name}")
    literals = " ".join(f"--from-literal={key}=…" for key in need.keys)
    hint = f"kubectl create secret generic {need.name} --namespace {namespace} {literals}".strip()
    if found is None:
        return Finding(subject, "missing", "there is no such Secret", hint)
    data = found.get("data") or {}
    if absent := [key for key in need.keys if not base64.b64decode(data.get(key, ""))]:
        return Finding(subject, "missing", f"lacks {', '.join(absent)}", hint)
    return Finding(subject, "ok", "is there" + (f", with {', '.join(need.keys)}" if need.keys else ""))


def _runtime(api: "ApiClient", namespace: str, name: str) -> Finding:
    subject = f"ServingRuntime {namespace}/{name}"
    found = _read(api, f"/apis/serving.kserve.io/v1alpha1/namespaces/{namespace}/servingruntimes/{name}")
    formats = [each["name"] for each in (found or {}).get("spec", {}).get("supportedModelFormats", [])]
    if MODEL_FORMAT in formats:
        return Finding(subject, "ok", f"serves the model format '{MODEL_FORMAT}'")
    message = "there is no such runtime" if found is None else f"serves {', '.join(formats) or 'no format'} only"
    return Finding(subject, "missing", message, "helm upgrade --install opencharacter charts/opencharacter")


def _bucket(uri: str) -> Finding:
    subject = f"Bucket {uri}"
    try:
        Workspace(uri).check()
    except OpenCharacterError as error:
        return Finding(subject, "missing", str(error), error.hint)
    return Finding(subject, "ok", "takes writes, and obeys their conditions")

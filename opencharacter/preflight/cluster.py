"""What the Kubernetes API tells: platform parts, room on nodes, Secrets, the serving runtime."""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from opencharacter.kube import API_TIMEOUT_S, cluster_client
from opencharacter.preflight.findings import Finding
from opencharacter.preflight.needs import Needs, Part, SecretNeed
from opencharacter.preflight.nodes import find_room
from opencharacter.preflight.retries import RETRIES, find_retries
from opencharacter.serving import DeployConfig
from opencharacter.serving.manifest import MODEL_FORMAT, model_spec
from opencharacter.serving.rollout.selection import select_runtime
from opencharacter.training.trainjob.manifest import GROUP, OLDEST_TRAINER, VERSION

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

PIPELINES = "Kubeflow Pipelines"
_RUNTIMES = "serving.kserve.io/v1alpha1"
_KUEUE = "kueue.x-k8s.io/v1beta2"

_APIS: dict[Part, tuple[str, dict[str, str]]] = {
    "kserve": (
        "KServe",
        {"serving.kserve.io/v1beta1": "inferenceservices", _RUNTIMES: "servingruntimes"},
    ),
    "pipelines": (
        PIPELINES,
        {"argoproj.io/v1alpha1": "workflows", "kubeflow.org/v1beta1": "scheduledworkflows"},
    ),
    "trainer": (
        "Kubeflow Trainer",
        {"trainer.kubeflow.org/v1alpha1": "trainjobs", "jobset.x-k8s.io/v1alpha2": "jobsets"},
    ),
    "kueue": ("Kueue", {_KUEUE: "localqueues"}),
}


def check_cluster(needs: Needs) -> Iterator[Finding]:
    """Look at the cluster for what is needed of it, one thing after another; nothing is changed.

    Raises `UserError` where no cluster is configured, `OpenCharacterError` where it cannot be reached.
    """
    with cluster_client("preflight") as api:
        yield _guarded("Cluster", partial(_reached, api))
        for part in needs.parts:
            subject, wanted = _APIS[part]
            yield _guarded(subject, partial(_trainer if part == "trainer" else _part, api, wanted))
        if needs.retries:
            yield _guarded(RETRIES, partial(find_retries, partial(_read, api), needs.namespace, needs.retries))
        if needs.all_pods:
            yield from _room(api, needs)
        here = needs.namespace
        for secret in needs.secrets:
            yield _guarded(f"Secret {here}/{secret.name}", partial(_secret, api, here, secret))
        for queue in needs.queues:
            yield _guarded(f"LocalQueue {here}/{queue}", partial(_queue, api, here, queue))
        for priority in needs.priorities:
            yield _guarded(f"WorkloadPriorityClass {priority}", partial(_priority, api, priority))
        if needs.runtime:
            yield _guarded(f"ServingRuntime {here}/{needs.runtime}", partial(_runtime, api, needs))


def _guarded(subject: str, check: Callable[[str], Finding]) -> Finding:
    from kubernetes.client import ApiException

    try:
        return check(subject)
    except ApiException as error:
        return _untold(subject, error)


def _untold(subject: str, error: "ApiException") -> Finding:
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


def _reached(api: "ApiClient", subject: str) -> Finding:
    _read(api, "/version")
    return Finding(subject, "ok", f"answers at {api.configuration.host}")


def _part(api: "ApiClient", wanted: dict[str, str], subject: str) -> Finding:
    """Discovery, which every account may read, tells which custom resources are served."""
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


def _trainer(api: "ApiClient", wanted: dict[str, str], subject: str) -> Finding:
    """The API's own document, which every account may read, tells whether it is new enough."""
    found = _part(api, wanted, subject)
    document = _read(api, f"/openapi/v3/apis/{GROUP}/{VERSION}")
    if found.state != "ok" or document is None:
        return found
    schemas = document.get("components", {}).get("schemas", {})
    kinds = [schema.get("properties", {}) for name, schema in schemas.items() if name.endswith(".TrainJob")]
    if any("runtimePatches" not in fields.get("spec", {}).get("properties", {}) for fields in kinds):
        message = f"is too old: {OLDEST_TRAINER} or later is needed, whose TrainJobs have runtimePatches"
        return Finding(subject, "differs", message, "update Kubeflow Trainer, its CRDs included: docs/install.md")
    return found


def _room(api: "ApiClient", needs: Needs) -> list[Finding]:
    from kubernetes.client import ApiException

    try:
        return list(find_room(partial(_read, api), needs.all_pods))
    except ApiException as error:
        return [_untold("Nodes", error)]


def _secret(api: "ApiClient", namespace: str, need: SecretNeed, subject: str) -> Finding:
    found = _read(api, f"/api/v1/namespaces/{namespace}/secrets/{need.name}")
    literals = " ".join(f"--from-literal={key}=…" for key in need.keys)
    hint = f"kubectl create secret generic {need.name} --namespace {namespace} {literals}".strip()
    if found is None:
        return Finding(subject, "missing", "there is no such Secret", hint)
    data = found.get("data") or {}
    if absent := [key for key in need.keys if not base64.b64decode(data.get(key, ""))]:
        return Finding(subject, "missing", f"lacks {', '.join(absent)}", hint)
    return Finding(subject, "ok", "is there" + (f", with {', '.join(need.keys)}" if need.keys else ""))


def _queue(api: "ApiClient", namespace: str, name: str, subject: str) -> Finding:
    if _read(api, f"/apis/{_KUEUE}/namespaces/{namespace}/localqueues/{name}") is None:
        hint = "the chart makes it (kueue.enabled), in its own namespace; or: --profile-set defaults.queue=NAME"
        return Finding(subject, "missing", "there is no such queue: pods would wait for ever", hint)
    return Finding(subject, "ok", "is there")


def _priority(api: "ApiClient", name: str, subject: str) -> Finding:
    if _read(api, f"/apis/{_KUEUE}/workloadpriorityclasses/{name}") is None:
        hint = "the chart makes it (kueue.enabled, kueue.priorities); or: --profile-set steps.STEP.priority=NAME"
        return Finding(subject, "missing", "there is no such class: Kueue would admit no pod that names it", hint)
    return Finding(subject, "ok", "is there")


def _runtime(api: "ApiClient", needs: Needs, subject: str) -> Finding:
    """Whether KServe would select it for an InferenceService as `deploy` writes it."""
    found = _read(api, f"/apis/{_RUNTIMES}/namespaces/{needs.namespace}/servingruntimes/{needs.runtime}")
    model = model_spec(DeployConfig(), storage_uri="s3://bucket/model")
    selection = select_runtime(model, [found] if found else [])
    if selection.name == needs.runtime:
        return Finding(subject, "ok", f"KServe selects it for the model format '{MODEL_FORMAT}'")
    message = "there is no such runtime" if found is None else selection.explain(model)
    return Finding(subject, "missing", message, "helm upgrade --install opencharacter charts/opencharacter")

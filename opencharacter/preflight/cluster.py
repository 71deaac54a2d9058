"""Checks that ask the Kubernetes API: platform parts, room on nodes, Secrets, retries, the serving runtime."""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from opencharacter.cluster.checks import Issue
from opencharacter.cluster.workflow_defaults import CONFIG_MAP, retry_rules
from opencharacter.errors import UserError
from opencharacter.kube import API_TIMEOUT_S, cluster_client
from opencharacter.preflight.nodes import check_room
from opencharacter.preflight.requirements import Part, Requirements, SecretRequirement
from opencharacter.serving import DeployConfig
from opencharacter.serving.manifest import MODEL_FORMAT, model_spec
from opencharacter.serving.rollout.selection import select_runtime
from opencharacter.training.trainjob.manifest import GROUP, OLDEST_TRAINER, VERSION

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

PIPELINES = "Kubeflow Pipelines"
_RETRIES = "Retries"
_PLATFORM = "kubeflow"
"""Where Argo's controller is if it is not in the runs' namespace: a Kubeflow for several users has one for all."""
_RETRIES_HINT = "docs/install.md, step 'Platform': the patch of Argo's defaults makes retries those of the cluster file"
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


def check_cluster(required: Requirements) -> Iterator[Issue]:
    """Look at the cluster for what is needed of it, one thing after another; nothing is changed.

    Raises `UserError` where no cluster is configured, `OpenCharacterError` where it cannot be reached.
    """
    with cluster_client("preflight") as api:
        yield _guarded("Cluster", partial(_reached, api))
        for part in required.parts:
            subject, resources = _APIS[part]
            yield _guarded(subject, partial(_trainer if part == "trainer" else _part, api, resources))
        if required.retries:
            yield _guarded(_RETRIES, partial(_check_retries, partial(_read, api), required.namespace, required.retries))
        if required.all_pods:
            yield from _room(api, required)
        here = required.namespace
        for secret in required.secrets:
            yield _guarded(f"Secret {here}/{secret.name}", partial(_secret, api, here, secret))
        for queue in required.queues:
            yield _guarded(f"LocalQueue {here}/{queue}", partial(_queue, api, here, queue))
        for priority in required.priorities:
            yield _guarded(f"WorkloadPriorityClass {priority}", partial(_priority, api, priority))
        if required.runtime:
            yield _guarded(f"ServingRuntime {here}/{required.runtime}", partial(_runtime, api, required))


def _guarded(subject: str, check: Callable[[str], Issue]) -> Issue:
    from kubernetes.client import ApiException

    try:
        return check(subject)
    except ApiException as error:
        return _no_answer(subject, error)


def _no_answer(subject: str, error: "ApiException") -> Issue:
    if error.status in (401, 403):
        return Issue(subject, "unknown", f"this account may not look ({error.status} {error.reason})")
    return Issue(subject, "unknown", f"the cluster answers {error.status} {error.reason}")


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


def _reached(api: "ApiClient", subject: str) -> Issue:
    _read(api, "/version")
    return Issue(subject, "ok", f"answers at {api.configuration.host}")


def _part(api: "ApiClient", resources: dict[str, str], subject: str) -> Issue:
    """Discovery, which every account may read, lists the custom resources that are served."""
    absent = []
    for group_version, resource in resources.items():
        served = _read(api, f"/apis/{group_version}") or {"resources": []}
        if resource not in {entry["name"] for entry in served["resources"]}:
            absent.append(f"{resource} ({group_version})")
    if absent:
        return Issue(
            subject, "missing", f"the cluster does not serve {' and '.join(absent)}", "docs/install.md, step 'Platform'"
        )
    return Issue(subject, "ok", f"serves {' and '.join(resources.values())}")


def _trainer(api: "ApiClient", resources: dict[str, str], subject: str) -> Issue:
    """The API's own document, which every account may read, shows whether it is new enough."""
    issue = _part(api, resources, subject)
    document = _read(api, f"/openapi/v3/apis/{GROUP}/{VERSION}")
    if issue.state != "ok" or document is None:
        return issue
    schemas = document.get("components", {}).get("schemas", {})
    kinds = [schema.get("properties", {}) for name, schema in schemas.items() if name.endswith(".TrainJob")]
    if any("runtimePatches" not in fields.get("spec", {}).get("properties", {}) for fields in kinds):
        message = f"is too old: {OLDEST_TRAINER} or later is needed, whose TrainJobs have runtimePatches"
        return Issue(subject, "differs", message, "update Kubeflow Trainer, its CRDs included: docs/install.md")
    return issue


def _room(api: "ApiClient", required: Requirements) -> list[Issue]:
    from kubernetes.client import ApiException

    try:
        return list(check_room(partial(_read, api), required.all_pods))
    except ApiException as error:
        return [_no_answer("Nodes", error)]


def _secret(api: "ApiClient", namespace: str, required: SecretRequirement, subject: str) -> Issue:
    secret = _read(api, f"/api/v1/namespaces/{namespace}/secrets/{required.name}")
    literals = " ".join(f"--from-literal={key}=…" for key in required.keys)
    hint = f"kubectl create secret generic {required.name} --namespace {namespace} {literals}".strip()
    if secret is None:
        return Issue(subject, "missing", "there is no such Secret", hint)
    data = secret.get("data") or {}
    if absent := [key for key in required.keys if not base64.b64decode(data.get(key, ""))]:
        return Issue(subject, "missing", f"does not hold {', '.join(absent)}", hint)
    return Issue(subject, "ok", "is there" + (f", with {', '.join(required.keys)}" if required.keys else ""))


def _queue(api: "ApiClient", namespace: str, name: str, subject: str) -> Issue:
    if _read(api, f"/apis/{_KUEUE}/namespaces/{namespace}/localqueues/{name}") is None:
        hint = "the chart makes it (kueue.enabled), in its own namespace; or: --cluster-set defaults.queue=NAME"
        return Issue(subject, "missing", "there is no such queue: pods would wait forever", hint)
    return Issue(subject, "ok", "is there")


def _priority(api: "ApiClient", name: str, subject: str) -> Issue:
    if _read(api, f"/apis/{_KUEUE}/workloadpriorityclasses/{name}") is None:
        hint = "the chart makes it (kueue.enabled, kueue.priorities); or: --cluster-set steps.STEP.priority=NAME"
        return Issue(subject, "missing", "there is no such class: Kueue would admit no pod that names it", hint)
    return Issue(subject, "ok", "is there")


def _runtime(api: "ApiClient", required: Requirements, subject: str) -> Issue:
    """Whether KServe would select it for an InferenceService as `deploy` writes it."""
    runtime = _read(api, f"/apis/{_RUNTIMES}/namespaces/{required.namespace}/servingruntimes/{required.runtime}")
    model = model_spec(DeployConfig(), storage_uri="s3://bucket/model")
    selection = select_runtime(model, [runtime] if runtime else [])
    if selection.name == required.runtime:
        return Issue(subject, "ok", f"KServe selects it for the model format '{MODEL_FORMAT}'")
    message = "there is no such runtime" if runtime is None else selection.explain(model)
    return Issue(subject, "missing", message, "helm upgrade --install opencharacter charts/opencharacter")


def _check_retries(read: Callable[[str], Any], namespace: str, most: int, subject: str) -> Issue:
    """Say what becomes of a cluster file's retries, of which a step has `most` at most.

    `read` gets an object by its path, none if it is absent, and raises the client's `ApiException`.
    """
    config_map, refusal = _config_map(read, namespace)
    if config_map is None:
        return Issue(subject, "unknown", f"cannot tell what is tried again: {refusal}")
    try:
        rules = retry_rules(config_map)
    except UserError as error:
        return Issue(subject, "unknown", f"cannot tell what is tried again: {error}")
    again = f"up to {most} times" if most > 1 else "once"
    if rules.failed and rules.lost:
        words = f"a step that fails is tried again, {again}, and so is one whose pod is lost"
    elif rules.lost:
        words = (
            "a step that fails (its own error, out of memory) is NOT tried again on this cluster, whatever its file "
            f"says; one whose pod is lost (deleted, its node gone) is, {again}"
        )
    elif rules.failed:
        words = (
            f"a step that fails is tried again, {again}; one whose pod is lost (deleted, its node gone) is NOT on this "
            "cluster: submit the run again then"
        )
    else:
        words = "on this cluster a step is tried again only after errors that Argo considers transient"
    if rules.repeats:
        words += "; after each failure the loops and branches around the step begin again, too"
    as_file_says = rules.failed and rules.lost and not rules.repeats
    return Issue(subject, "ok" if as_file_says else "warning", words, None if as_file_says else _RETRIES_HINT)


def _config_map(read: Callable[[str], Any], namespace: str) -> tuple[Any, str]:
    """The controller's ConfigMap, or why there is none to be seen."""
    from kubernetes.client import ApiException

    refusal = ""
    places = list(dict.fromkeys([namespace, _PLATFORM]))
    for place in places:
        try:
            if config_map := read(f"/api/v1/namespaces/{place}/configmaps/{CONFIG_MAP}"):
                return config_map, ""
        except ApiException as error:
            refusal = f"this account may not read ConfigMap {place}/{CONFIG_MAP} ({error.status} {error.reason})"
    return None, refusal or f"there is no ConfigMap {CONFIG_MAP} in {' or '.join(places)}"

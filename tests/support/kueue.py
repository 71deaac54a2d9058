"""What Kueue does to a queued TrainJob, for there is no Kueue in the tests.

Kueue reads and updates TrainJobs with the copy of Trainer's Go types that it was built with: a field that the copy does
not have is gone after the update. Kueue 0.17 to 0.19 hold Trainer 2.2's (`go.mod`; up to 0.16 it was 2.1, which has no
`runtimePatches` at all). JobSet then refuses the changed pod template (`pkg/webhooks/jobset_webhook.go`).
"""

import copy
from typing import Any

Object = dict[str, Any]

PATCH_MANAGER = "kueue.x-k8s.io/manager"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

_WHOLE = None
"""A plain value, or a type of Kubernetes' own (core/v1, meta/v1), which Kueue knows as well as the API server does."""

_CONTAINER_PATCH = dict.fromkeys(["name", "env", "volumeMounts", "securityContext"])
_POD_PATCH = {
    **dict.fromkeys(["serviceAccountName", "volumes", "imagePullSecrets", "securityContext"]),
    **dict.fromkeys(["nodeSelector", "affinity", "tolerations", "schedulingGates"]),
    "initContainers": _CONTAINER_PATCH,
    "containers": _CONTAINER_PATCH,
}
_JOB_PATCH = {"metadata": _WHOLE, "spec": {"template": {"metadata": _WHOLE, "spec": _POD_PATCH}}}
_JOB_SET_PATCH = {"metadata": _WHOLE, "spec": {"replicatedJobs": {"name": _WHOLE, "template": _JOB_PATCH}}}
_INITIALIZER = dict.fromkeys(["storageUri", "env", "secretRef"])
TRAINER_2_2: Object = {
    **dict.fromkeys(["apiVersion", "kind", "metadata", "status"]),
    "spec": {
        **dict.fromkeys(["suspend", "activeDeadlineSeconds", "managedBy"]),
        "runtimeRef": dict.fromkeys(["name", "apiGroup", "kind"]),
        "initializer": {"dataset": _INITIALIZER, "model": _INITIALIZER},
        "trainer": {
            **dict.fromkeys(["image", "command", "args", "env"]),
            **dict.fromkeys(["numNodes", "resourcesPerNode", "numProcPerNode"]),
        },
        "runtimePatches": {"manager": _WHOLE, "time": _WHOLE, "trainingRuntimeSpec": {"template": _JOB_SET_PATCH}},
    },
}
"""The JSON fields of a TrainJob in Trainer 2.2.1, `pkg/apis/trainer/v1alpha1/trainjob_types.go`."""


def as_kueue_writes(value: Any, known: Object | None = TRAINER_2_2) -> Any:
    """A TrainJob after an update by Kueue: without the fields that its copy of the types does not have."""
    if known is None:
        return copy.deepcopy(value)
    if isinstance(value, list):
        return [as_kueue_writes(item, known) for item in value]
    return {name: as_kueue_writes(inner, known[name]) for name, inner in value.items() if name in known}


def dropped(value: Any, known: Object | None = TRAINER_2_2, path: str = "") -> list[str]:
    """The fields that `as_kueue_writes` drops, as paths."""
    if known is None:
        return []
    if isinstance(value, list):
        return [lost for number, item in enumerate(value) for lost in dropped(item, known, f"{path}[{number}]")]
    gone = [f"{path}.{name}" for name in value if name not in known]
    inner = [
        lost for name in value.keys() & known.keys() for lost in dropped(value[name], known[name], f"{path}.{name}")
    ]
    return gone + inner


def suspend(job: Object) -> None:
    """What its webhook does to a new TrainJob with a queue."""
    if QUEUE_LABEL in job["metadata"].get("labels", {}):
        job["spec"]["suspend"] = True
        empty = {"manager": PATCH_MANAGER, "trainingRuntimeSpec": {"template": {"spec": {}}}}
        job["spec"].setdefault("runtimePatches", []).append(empty)


def admit(job: Object) -> str | None:
    """Update a suspended TrainJob to run. Gives JobSet's refusal of the pods, if it refuses them."""
    before = _fixed(job)
    written = as_kueue_writes(job)
    for patch in written["spec"]["runtimePatches"]:
        if patch["manager"] == PATCH_MANAGER:
            pod = {"metadata": {"labels": {"kueue.x-k8s.io/podset": "node"}}, "spec": {"nodeSelector": {"pool": "a"}}}
            node = {"name": "node", "template": {"spec": {"template": pod}}}
            patch["trainingRuntimeSpec"]["template"]["spec"] = {"replicatedJobs": [node]}
    written["spec"]["suspend"] = False
    job.clear()
    job.update(written)
    if _fixed(job) == before:
        return None
    return (
        'admission webhook "vjobset.kb.io" denied the request: JobSet.jobset.x-k8s.io'
        f' "{job["metadata"]["name"]}" is invalid: spec.replicatedJobs: Invalid value: field is immutable'
    )


def _fixed(job: Object) -> list[Any]:
    """What JobSet lets nobody change, also while it is suspended: the pods, but labels, annotations and placement."""
    fixed = []
    for patch in job["spec"].get("runtimePatches", []):
        for replicated in patch["trainingRuntimeSpec"]["template"]["spec"].get("replicatedJobs", []):
            pod = copy.deepcopy(replicated["template"]["spec"]["template"].get("spec", {}))
            for free in ("nodeSelector", "tolerations", "schedulingGates"):
                pod.pop(free, None)
            fixed.append(pod)
    return [pod for pod in fixed if pod]

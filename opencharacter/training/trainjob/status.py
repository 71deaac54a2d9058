"""What the cluster reports of a TrainJob: its conditions, its lost fields, its pods' runs and how they ended."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from opencharacter.training.trainjob.manifest import NODE

Job = dict[str, Any]

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def condition(job: Job, kind: str) -> dict[str, Any] | None:
    """The condition of that type, if it holds."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def is_suspended(job: Job) -> bool:
    """Whether it waits to be admitted. The condition may lag behind the spec."""
    return bool((job.get("spec") or {}).get("suspend"))


def queue_of(job: Job) -> str | None:
    """Its LocalQueue."""
    return (job["metadata"].get("labels") or {}).get(_QUEUE_LABEL)


def lost_fields(asked: Job, found: Job) -> list[str]:
    """Paths of the spec that were asked for and are not there any more: some controller writes it with older types.

    Values are not compared, since controllers write them in their own way, and may leave out what is empty.
    """
    patches = {patch.get("manager"): patch for patch in found["spec"].get("runtimePatches") or []}
    ours = [patches.get(patch["manager"], {}) for patch in asked["spec"]["runtimePatches"]]
    return _lost(asked["spec"], found["spec"] | {"runtimePatches": ours}, "spec")


def _lost(asked: Any, found: Any, path: str) -> list[str]:
    if isinstance(asked, dict) and isinstance(found, dict):
        gone = [f"{path}.{name}" for name, value in asked.items() if value and name not in found]
        kept = [name for name in asked if name in found]
        return gone + [lost for name in kept for lost in _lost(asked[name], found[name], f"{path}.{name}")]
    if isinstance(asked, list) and isinstance(found, list):
        gone = [f"{path}[{number}]" for number in range(len(found), len(asked))]
        pairs = enumerate(zip(asked, found, strict=False))
        return gone + [lost for number, (ours, theirs) in pairs for lost in _lost(ours, theirs, f"{path}[{number}]")]
    return []


Pod = dict[str, Any]

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_KILLED = 137
"""128 + SIGKILL."""


class Run(NamedTuple):
    """One run of a node's container: the first one of a pod, or one after a restart."""

    node: int
    """Rank of the node in the training."""
    pod: str
    machine: str
    """The Kubernetes node."""
    uid: str
    restarts: int

    @property
    def name(self) -> str:
        """The node, in words."""
        return f"node {self.node} (pod {self.pod} on {self.machine})"

    @property
    def key(self) -> tuple[str, int]:
        """What identifies it."""
        return self.uid, self.restarts


class End(NamedTuple):
    """A run that did not end well."""

    run: Run
    reason: str
    """Kubernetes' own word, and the exit code."""
    out_of_memory: bool
    """Whether the container went beyond its memory limit."""


def begun_runs(pods: Iterable[Pod]) -> list[Run]:
    """The newest run of each node that has a log: a pod that was evicted may still be listed beside its successor."""
    newest: dict[int, Pod] = {}
    for pod in pods:
        held = newest.get(_index(pod))
        if held is None or _age(pod) > _age(held):
            newest[_index(pod)] = pod
    return [_run(pod) for _, pod in sorted(newest.items()) if _has_begun(pod)]


def holdup(pods: Iterable[Pod]) -> str | None:
    """Why a pod has not begun, in Kubernetes' words."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        waiting = (_container(pod).get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{name}: {waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
        for condition in status.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"{name}: {condition.get('reason')}: {condition.get('message')}"
    return None


def bad_ends(pods: Iterable[Pod]) -> list[End]:
    """The runs that ended badly, as far as the pods still show: of each, the one before and the last."""
    found = []
    for pod in pods:
        run, container = _run(pod), _container(pod)
        before = (container.get("lastState") or {}).get("terminated")
        if before and before.get("exitCode"):
            # While the kubelet waits before it starts a container again, it has not counted that restart yet.
            waiting = "waiting" in (container.get("state") or {})
            found.append(_end(run if waiting else run._replace(restarts=run.restarts - 1), before))
        last = (container.get("state") or {}).get("terminated")
        if outside := _ended_from_outside(pod):
            found.append(End(run, outside, out_of_memory=False))
        elif last and last.get("exitCode"):
            found.append(_end(run, last))
    return found


def last_run(pod: Pod) -> Run:
    """The newest run of a pod, begun or not."""
    return _run(pod)


def _end(run: Run, terminated: dict[str, Any]) -> End:
    reason, code = terminated.get("reason") or "Error", terminated["exitCode"]
    if reason == "Error":
        words = f"killed (exit code {code})" if code == _KILLED else f"exit code {code}"
    else:
        words = f"{reason} (exit code {code})"
    return End(run, words, out_of_memory=reason == "OOMKilled")


def _ended_from_outside(pod: Pod) -> str | None:
    """Eviction, preemption, a lost machine: the pod's own reason, or the condition that Kubernetes sets before."""
    status = pod.get("status") or {}
    if reason := status.get("reason"):
        return f"{reason}: {status.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"{condition.get('reason')}: {condition.get('message', '')}".rstrip(": ")
    return None


def _run(pod: Pod) -> Run:
    metadata, machine = pod["metadata"], (pod.get("spec") or {}).get("nodeName")
    restarts = int(_container(pod).get("restartCount", 0))
    return Run(_index(pod), metadata["name"], machine or "no machine yet", metadata["uid"], restarts)


def _index(pod: Pod) -> int:
    return int((pod["metadata"].get("labels") or {}).get(_INDEX_LABEL, 0))


def _age(pod: Pod) -> str:
    return str(pod["metadata"].get("creationTimestamp"))


def _has_begun(pod: Pod) -> bool:
    state = _container(pod).get("state") or {}
    return "running" in state or "terminated" in state


def _container(pod: Pod) -> dict[str, Any]:
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    return next((container for container in containers if container["name"] == NODE), {})

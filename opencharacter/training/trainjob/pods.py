"""Reading the pods of a TrainJob: which one is first, whether it has begun, what holds it up, how it ended."""

from collections.abc import Iterable
from typing import Any

from opencharacter.training.trainjob.manifest import NODE

Pod = dict[str, Any]

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def first_node(pods: Iterable[Pod]) -> Pod | None:
    """The newest pod of node 0: one that was evicted may still be listed."""
    mine = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(_INDEX_LABEL) == "0"]
    return max(mine, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)


def run_of(pod: Pod) -> tuple[str, int]:
    """What tells a run of the container from its restarts."""
    return pod["metadata"]["uid"], int(_container(pod).get("restartCount", 0))


def has_begun(pod: Pod) -> bool:
    """Whether its container has a log."""
    state = _container(pod).get("state") or {}
    return "running" in state or "terminated" in state


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


def ends(pods: Iterable[Pod]) -> list[str]:
    """How the containers ended that were ended from outside (memory, eviction, a lost node)."""
    found = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        container = _container(pod)
        states = [container.get("state") or {}, container.get("lastState") or {}]
        ended = [state["terminated"] for state in states if "terminated" in state]
        if status.get("reason"):
            found.append(f"{name}: {status['reason']}: {status.get('message', '')}".rstrip(": "))
        elif reasons := [end for end in ended if end.get("reason") == "OOMKilled" or end.get("exitCode") == 137]:
            found.append(f"{name}: {reasons[0].get('reason') or 'killed'} (exit code {reasons[0].get('exitCode')})")
    return found


def _container(pod: Pod) -> dict[str, Any]:
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    return next((container for container in containers if container["name"] == NODE), {})

"""What keeps a predictor's pods from being ready: what KServe, the Deployment, the pods and their logs say."""

from collections.abc import Callable, Iterator
from typing import Any

from opencharacter.serving.manifest import PODS_ANNOTATION

Object = dict[str, Any]
ReadLog = Callable[[str, str, bool], str]
"""Of a pod and a container; the third argument asks for the run before the last restart. Empty where it can't be
read."""

_STARTING = {None, "ContainerCreating", "PodInitializing"}
_LOG_LINES = 8
_LONGEST_LINE = 300


def what_blocks(
    service: Object | None, deployment: Object | None, pods: list[Object], digest: str, read_log: ReadLog
) -> list[str]:
    """Each obstacle as a few lines of text, the most telling first; empty while all is merely slow."""
    mine = [pod for pod in pods if (pod["metadata"].get("annotations") or {}).get(PODS_ANNOTATION) == digest]
    found = [line for pod in mine for line in _of_pod(pod, read_log)]
    return [*found, *_of_deployment(deployment), *(_of_service(service) if not found else [])]


def _of_service(service: Object | None) -> Iterator[str]:
    status = (service or {}).get("status") or {}
    failure = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure.get("reason") or failure.get("message"):
        yield f"KServe: {_joined(failure.get('reason'), failure.get('message'))}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PredictorReady" and condition["status"] == "False" and condition.get("message"):
            yield f"KServe: {_joined(condition.get('reason'), condition['message'])}"


def _of_deployment(deployment: Object | None) -> Iterator[str]:
    for condition in ((deployment or {}).get("status") or {}).get("conditions") or []:
        # Quotas, Pod Security and other admission refuse pods by the ReplicaSet's hand.
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield f"pods can't be made: {_joined(condition.get('reason'), condition.get('message'))}"


def _of_pod(pod: Object, read_log: ReadLog) -> Iterator[str]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if status.get("reason"):
        yield f"pod {name}: {_joined(status['reason'], status.get('message'))}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"pod {name}: {_joined(condition.get('reason'), condition.get('message'))}"
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        if told := _of_container(name, container, read_log):
            yield told


def _of_container(pod: str, container: Object, read_log: ReadLog) -> str | None:
    state, before = container.get("state") or {}, (container.get("lastState") or {}).get("terminated")
    waiting, ended, name = state.get("waiting"), state.get("terminated"), container["name"]
    failed = ended or (None if container.get("ready") else before)
    if failed and failed.get("exitCode") != 0:
        how = f"ended with exit code {failed.get('exitCode')}"
        if failed.get("reason") not in (None, "Error", "Completed"):
            how += f" ({failed['reason']})"
        if restarts := container.get("restartCount"):
            how += f", {restarts} restarts"
        lines = _last_lines(read_log(pod, name, ended is None) or str(failed.get("message") or ""))
        return "\n".join([f"pod {pod}, container {name}: {how}", *(f"  | {line}" for line in lines)])
    if waiting and waiting.get("reason") not in _STARTING:
        return f"pod {pod}, container {name}: {_joined(waiting.get('reason'), waiting.get('message'))}"
    return None


def _last_lines(log: str) -> list[str]:
    lines = [line.rstrip()[:_LONGEST_LINE] for line in log.splitlines() if line.strip()]
    return lines[-_LOG_LINES:]


def _joined(*parts: Any) -> str:
    return ": ".join(str(part) for part in parts if part)

"""Whether a predictor's pods are up to date and ready, what blocks them, and the wait for them.

A Deployment is complete by the rules of `kubectl rollout status`. The InferenceService's own Ready stays true while a
new version comes up, so it says nothing about it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.serving.manifest import PODS_ANNOTATION
from opencharacter.serving.names import pod_label, predictor_service
from opencharacter.serving.rollout.api import Namespace, Refusal
from opencharacter.serving.rollout.outcome import RolloutFailed

Object = dict[str, Any]


def pods_digest(manifest: Object) -> str:
    """The digest of the pods that a manifest asks for."""
    return str(manifest["spec"]["predictor"]["annotations"][PODS_ANNOTATION])


def deletion_of(service: Object | None) -> str | None:
    """What somebody's deletion has made of an InferenceService; none if it stays."""
    if service is None:
        return "is gone"
    return "is being deleted" if service["metadata"].get("deletionTimestamp") else None


def wanting(deployment: Object | None, digest: str, at_least: int = 1) -> str | None:
    """What a rollout to pods of this digest still waits for; none when it is complete, with so many of them or more."""
    if deployment is None:
        return "KServe has not made the Deployment yet"
    template = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    if template.get(PODS_ANNOTATION) != digest:
        return "KServe has not updated the Deployment yet"
    status, expected = deployment.get("status") or {}, max(int(deployment["spec"].get("replicas", 1)), at_least)
    if int(deployment["metadata"].get("generation", 0)) > int(status.get("observedGeneration", 0)):
        return "the Deployment's controller has not seen the change yet"
    updated, replicas = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    available = int(status.get("availableReplicas", 0))
    if updated < expected:
        return f"{updated} of {expected} new pods are made"
    if replicas > updated:
        return f"{replicas - updated} pods from before are still there"
    if available < updated:
        return f"{available} of {updated} new pods are ready"
    return None


ReadLog = Callable[[str, str, bool], str]
"""Of a pod and a container; the third argument asks for the run before the last restart. Empty where it can't be
read."""

_STARTING = {None, "ContainerCreating", "PodInitializing"}
_SHOWN_LOG_LINES = 8
_LONGEST_LINE = 300


def what_blocks(
    service: Object | None, deployment: Object | None, pods: list[Object], digest: str, read_log: ReadLog
) -> list[str]:
    """Each obstacle as a few lines of text, the most telling first; empty while all is merely slow."""
    own_pods = [pod for pod in pods if (pod["metadata"].get("annotations") or {}).get(PODS_ANNOTATION) == digest]
    found = [line for pod in own_pods for line in _of_pod(pod, read_log)]
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
        if reason := _of_container(name, container, read_log):
            yield reason


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
    return lines[-_SHOWN_LOG_LINES:]


def _joined(*parts: Any) -> str:
    return ": ".join(str(part) for part in parts if part)


POLL_S = 5.0
_FATAL_S = 60.0
_FATAL = {"NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"}
"""KServe's failures that don't pass by themselves; a runtime may still be about to be installed."""
_LOG_LINES = 40


@dataclass
class Waiting:
    """Waits within one namespace for predictors of one InferenceService."""

    namespace: Namespace
    service: str
    report: Callable[[str], None]
    pause: Callable[[float], None]
    timeout_s: float
    _sees_pods: bool = field(default=True, init=False)

    def until_ready(self, predictor: str, digest: str, pods: int) -> None:
        """Wait until the Deployment is complete, with so many pods of this digest. Raises `RolloutFailed`."""
        name = predictor_service(self.service, predictor)
        waited, reported = 0.0, ""
        while True:
            deployment = self.namespace.deployment(name)
            missing = wanting(deployment, digest, pods)
            if missing is None:
                return
            service = self.namespace.inference_service(self.service)
            if lost := deletion_of(service):
                where = f"InferenceService {self.namespace.name}/{self.service}"
                raise RolloutFailed(f"{where} {lost}, so nothing will come of {name}", reason="cluster")
            obstacles = what_blocks(service, deployment, self._pods(predictor), digest, self._log)
            text = "\n".join([f"{name}: {missing}", *obstacles])
            if text != reported:
                self.report(text)
                reported = text
            hopeless = deployment is None and _failure(service) in _FATAL
            if waited >= self.timeout_s or (hopeless and waited >= _FATAL_S):
                raise RolloutFailed(
                    f"{name} is not ready after {waited:.0f} s: {missing}" + "".join(f"\n{each}" for each in obstacles),
                    reason="no-runtime" if hopeless else "not-ready",
                    hint=None if obstacles else "set deploy.ready_seconds if it only needs more time",
                )
            self.pause(POLL_S)
            waited += POLL_S

    def hold(self, predictor: str, digest: str, pods: int, seconds: float) -> None:
        """Watch ready pods for a while. Raises `RolloutFailed` if they don't stay ready."""
        name, waited = predictor_service(self.service, predictor), 0.0
        while waited < seconds:
            if missing := wanting(self.namespace.deployment(name), digest, pods):
                raise RolloutFailed(f"{name} did not stay ready for {seconds:.0f} s: {missing}", reason="not-ready")
            self.pause(POLL_S)
            waited += POLL_S

    def _pods(self, predictor: str) -> list[Object]:
        if not self._sees_pods:
            return []
        try:
            return self.namespace.pods(pod_label(self.service, predictor))
        except Refusal as refusal:
            self._sees_pods = False
            self.report(f"what the pods say can't be shown: {refusal}")
            return []

    def _log(self, pod: str, container: str, previous: bool) -> str:
        try:
            return self.namespace.log(pod, container, lines=_LOG_LINES, previous=previous)
        except (Refusal, OpenCharacterError):
            return ""


def _failure(service: Object | None) -> str | None:
    status = (service or {}).get("status") or {}
    return ((status.get("modelStatus") or {}).get("lastFailureInfo") or {}).get("reason")

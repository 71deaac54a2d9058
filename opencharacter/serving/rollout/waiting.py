"""Wait for a predictor's pods, and say what blocks them while waiting and in the error."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.serving.names import pod_label, predictor_service
from opencharacter.serving.rollout.api import Namespace, Refusal
from opencharacter.serving.rollout.blocking import what_blocks
from opencharacter.serving.rollout.outcome import RolloutFailed
from opencharacter.serving.rollout.readiness import deletion_of, wanting

POLL_S = 5.0
_HOPELESS_S = 60.0
_HOPELESS = {"NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"}
"""KServe's failures that no time mends; one may still be about to be installed."""
_LOG_LINES = 40

Object = dict[str, Any]


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
        waited, told = 0.0, ""
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
            if text != told:
                self.report(text)
                told = text
            hopeless = deployment is None and _failure(service) in _HOPELESS
            if waited >= self.timeout_s or (hopeless and waited >= _HOPELESS_S):
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

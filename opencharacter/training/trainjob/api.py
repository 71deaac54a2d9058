"""The few calls to the Kubernetes API that a training over several nodes needs. Hiccups are waited out."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.kube import Cause, cause_of, patiently, refused, status_of, words_of
from opencharacter.training.trainjob.manifest import GROUP, NODE, OLDEST_TRAINER, PLURAL, VERSION

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

_DELAYS_S = [1, 2, 4, 8, 15] + [30] * 28
"""Pauses between attempts: a control plane may be away for some minutes while it is upgraded."""
_CONNECT_S, _READ_S = 10, 60
_RIGHTS = "see docs/multi-gpu-training.md for the rules that the step's service account needs"
_SETTINGS = "check steps.sft and trainer.runtime of the cluster file"
_HINTS = {
    Cause.LOGIN: _RIGHTS,
    Cause.RIGHTS: _RIGHTS,
    Cause.ADMISSION: f"ask whoever runs the cluster about this rule, or {_SETTINGS}",
    Cause.INVALID: _SETTINGS,
}

Object = dict[str, Any]


class ClusterApi:
    """TrainJobs, pods, logs and workflows of one namespace. Raises `UserError` where the cluster refuses for good."""

    def __init__(self, connection: "ApiClient", namespace: str, pause: Callable[[float], None]) -> None:
        """`pause` waits so many seconds."""
        from kubernetes import client

        self.namespace = namespace
        self._pause = pause
        self._objects = client.CustomObjectsApi(connection)
        self._core = client.CoreV1Api(connection)

    def create(self, manifest: Object) -> bool:
        """Create a TrainJob. Says whether it did: not so if there is one of that name.

        A field that the cluster's Trainer does not know is refused; Kubernetes' default is to drop it.
        """

        def create() -> bool:
            self._objects.create_namespaced_custom_object(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                manifest,
                field_validation="Strict",
                _request_timeout=_READ_S,
            )
            return True

        return self._ask("create trainjobs", create, instead={409: False})

    def get(self, name: str) -> Object | None:
        """The TrainJob, if there is one."""
        get = self._objects.get_namespaced_custom_object
        return self._ask(
            "get trainjobs",
            lambda: get(GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=_READ_S),
            absent=name,
        )

    def delete(self, name: str) -> None:
        """Delete the TrainJob, once its pods are gone. Not an error if it does not exist."""
        delete = self._objects.delete_namespaced_custom_object
        self._ask(
            "delete trainjobs",
            lambda: delete(
                GROUP,
                VERSION,
                self.namespace,
                PLURAL,
                name,
                propagation_policy="Foreground",
                _request_timeout=_READ_S,
            ),
            absent=name,
        )

    def pods(self, job: str) -> list[Object]:
        """The job's pods."""
        selector = f"jobset.sigs.k8s.io/jobset-name={job},jobset.sigs.k8s.io/replicatedjob-name={NODE}"
        listed = self._ask(
            "list pods",
            lambda: self._raw(self._core.list_namespaced_pod, self.namespace, label_selector=selector),
        )
        return list(listed["items"])

    def pod(self, name: str) -> Object | None:
        """A pod, if there is one."""
        return self._ask(
            "get pods", lambda: self._raw(self._core.read_namespaced_pod, name, self.namespace), absent=name
        )

    def workflow(self, name: str) -> Object | None:
        """An Argo Workflow, if there is one."""
        get = self._objects.get_namespaced_custom_object
        return self._ask(
            "get workflows",
            lambda: get("argoproj.io", "v1alpha1", self.namespace, "workflows", name, _request_timeout=_READ_S),
            absent=name,
        )

    def warning(self, job: str) -> str | None:
        """The newest warning about a TrainJob, its JobSet or the Job of its nodes; none if events may not be read."""
        events: list[Object] = []
        for name in (job, f"{job}-{NODE}-0"):
            selector = f"type=Warning,involvedObject.name={name}"
            list_events = partial(self._raw, self._core.list_namespaced_event, self.namespace, field_selector=selector)
            events += self._ask("list events", list_events, instead={403: {}}).get("items") or []
        newest = max(events, key=_event_time, default=None)
        return str(newest.get("message")) if newest else None

    def log(self, pod: str, *, follow: bool, previous: bool = False, since_s: int | None = None) -> Iterator[bytes]:
        """The pod's log as it arrives, in pieces, each line after its time. Raises whatever breaks it.

        `previous`: of the run of its container before this one.
        """
        optional = {"since_seconds": since_s, "previous": previous or None}
        response = self._core.read_namespaced_pod_log(
            pod,
            self.namespace,
            container=NODE,
            follow=follow,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(_CONNECT_S, _READ_S),
            **{name: value for name, value in optional.items() if value is not None},
        )
        try:
            yield from response.stream(amt=None, decode_content=True)
        finally:
            response.close()

    def _raw(self, call: Callable[..., Any], *arguments: Any, **fields: Any) -> Any:
        """The answer as JSON: the client's classes fail on fields that are newer than they are."""
        response = call(*arguments, **fields, _preload_content=False, _request_timeout=_READ_S)
        return json.loads(response.data)

    def _ask(
        self, doing: str, call: Callable[[], Any], *, absent: str | None = None, instead: dict[int, Any] | None = None
    ) -> Any:
        """Call until there is an answer. `absent`: the name of an object that need not be there (gives none)."""
        from kubernetes.client import ApiException

        try:
            return patiently(
                call,
                doing=f"{doing} in namespace {self.namespace}",
                pause=self._pause,
                delays_s=_DELAYS_S,
                hint="the TrainJob goes on; run the step again to attach to it",
            )
        except ApiException as error:
            if instead and error.status in instead:
                return instead[error.status]
            if error.status == 404 and absent and _is_about(error, absent):
                return None
            raise _refusal(error, doing, self.namespace) from error


def _is_about(error: "ApiException", name: str) -> bool:
    return (status_of(error.body).get("details") or {}).get("name") == name


def _event_time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp"))


def _refusal(error: "ApiException", doing: str, namespace: str) -> OpenCharacterError:
    if cause_of(error) is Cause.NO_NAMESPACE:
        return UserError(f"the cluster has no namespace {namespace}", hint="is the kubeconfig's context the right one?")
    if cause_of(error) is Cause.NO_RESOURCE:
        return UserError(
            "Kubeflow Trainer is not installed in this cluster: it has no trainjobs (trainer.kubeflow.org/v1alpha1)",
            hint="install Kubeflow Trainer 2, or train in one pod: steps.sft.nodes 1 in the cluster file",
        )
    if cause_of(error) is Cause.INVALID and "unknown field" in words_of(error):
        return UserError(
            f"this cluster's Kubeflow Trainer is too old: {OLDEST_TRAINER} or later is needed ({words_of(error)})",
            hint="update Kubeflow Trainer, its CRDs included (docs/install.md), or train in one pod: steps.sft.nodes 1",
        )
    return refused(error, f"{doing} in namespace {namespace}", hints=_HINTS)

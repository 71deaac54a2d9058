"""Logs and troubles of a run's pods: from the Kubernetes API, else from Kubeflow Pipelines' own server."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

from opencharacter.errors import OpenCharacterError
from opencharacter.kube import cluster_client
from opencharacter.pipelines.watch.server import RunServer, Unanswered

STANDALONE_NAMESPACE = "kubeflow"
"""Where pods are if nothing says otherwise."""

_CONTAINER = "main"
_TAIL = 200
_TIMEOUT_S = (3, 15)
_PAUSE_S = 120
_SPARING_S = 20
"""How old the server's log of a pod may be: it sends the whole log each time."""


class _Source(Protocol):
    name: str

    def tail(self, pod: str, *, final: bool) -> list[str] | None:
        """The last lines of a pod, as they are now if they are `final`; None if this source has none of it."""


class Pods:
    """The pods of one run, as far as this machine can see them. Close it at the end."""

    def __init__(self, server: RunServer, namespace: str | None) -> None:
        self._kubernetes = _Kubernetes(namespace or STANDALONE_NAMESPACE)
        self._sources: list[_Source] = [self._kubernetes, _ServerLogs(server, namespace)]
        self._left_alone: dict[str, float] = {}
        self.unread: dict[str, str] = {}
        """Why a source cannot be read, by its name."""

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *_: object) -> None:
        self._kubernetes.close()

    def tail(self, pod: str, *, final: bool = False) -> list[str]:
        """The last lines of a pod; none where it has not started, is gone, or cannot be read.

        A source that did not answer is left alone for a while, unless the lines are the `final` ones.
        """
        for source in self._sources:
            if final or self._answers(source.name):
                try:
                    if (lines := source.tail(pod, final=final)) is not None:
                        return lines
                except Unanswered as error:
                    self._leave_alone(source.name, error)
        return []

    def trouble(self, pod: str, *, final: bool = False) -> str | None:
        """Why a pod does not run, or was ended, in Kubernetes' words; only the Kubernetes API knows."""
        if not final and not self._answers(self._kubernetes.name):
            return None
        try:
            return next(_troubles(self._kubernetes.pod(pod)), None)
        except Unanswered as error:
            self._leave_alone(self._kubernetes.name, error)
            return None

    def _answers(self, source: str) -> bool:
        return time.monotonic() >= self._left_alone.get(source, 0)

    def _leave_alone(self, source: str, error: Unanswered) -> None:
        self._left_alone[source] = time.monotonic() + _PAUSE_S
        self.unread[source] = str(error)


def _troubles(pod: dict[str, Any]) -> Iterator[str]:
    status = pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        state = container.get("state") or {}
        ended, waits = state.get("terminated") or {}, state.get("waiting") or {}
        if ended.get("reason") not in (None, "Completed", "Error"):
            yield _joined(ended)
        if waits.get("reason") not in (None, "PodInitializing", "ContainerCreating"):
            yield _joined(waits)
    if status.get("reason"):  # such as Evicted
        yield _joined(status)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _joined(condition)


def _joined(state: dict[str, Any]) -> str:
    return ": ".join(str(state[key]) for key in ("reason", "message") if state.get(key))


class _Kubernetes:
    name = "the kubeconfig's cluster"

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._opened = ExitStack()
        self._api: Any = None

    def close(self) -> None:
        self._opened.close()

    def tail(self, pod: str, *, final: bool) -> list[str] | None:
        text = self._read("read_namespaced_pod_log", pod, container=_CONTAINER, tail_lines=_TAIL)
        return None if text is None else text.splitlines()

    def pod(self, pod: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._read("read_namespaced_pod", pod) or "{}")
        return found

    def _read(self, method: str, pod: str, **arguments: Any) -> str | None:
        from kubernetes.client import ApiException, CoreV1Api
        from urllib3.exceptions import HTTPError

        try:
            if self._api is None:
                self._api = CoreV1Api(self._opened.enter_context(cluster_client("watch")))
            answer = getattr(self._api, method)(
                pod, self._namespace, _preload_content=False, _request_timeout=_TIMEOUT_S, **arguments
            )
            return bytes(answer.data).decode(errors="replace")
        except ApiException as error:
            if error.status in (400, 404):  # it has not started, or is gone, or is another cluster's
                return None
            where = f" in namespace {self._namespace}" if error.status == 403 else ""
            raise Unanswered(f"{error.status} {error.reason}{where}") from error
        except (OpenCharacterError, HTTPError, OSError) as error:
            raise Unanswered(str(error)) from error
        except Exception as error:  # a kubeconfig that makes no sense fails in any way
            raise Unanswered(str(error) or type(error).__name__) from error


class _ServerLogs:
    name = "Kubeflow Pipelines' server"

    def __init__(self, server: RunServer, namespace: str | None) -> None:
        self._server = server
        self._namespace = namespace
        self._known: dict[str, tuple[float, list[str] | None]] = {}

    def tail(self, pod: str, *, final: bool) -> list[str] | None:
        read_at, lines = self._known.get(pod, (0.0, None))
        if final or lines is None or time.monotonic() - read_at > _SPARING_S:
            text = self._server.pod_log(pod, self._namespace)
            lines = None if text is None else text.splitlines()[-_TAIL:]
            self._known[pod] = (time.monotonic(), lines)
        return lines

"""The Kubernetes API by paths and plain JSON: what the acceptance suite makes, reads and deletes in a cluster."""

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Object = dict[str, Any]

_TIMEOUT_S = (5, 60)
_HICCUPS_S = (1, 2, 4, 8, 15)
_TRANSIENT = {0, 429, 500, 502, 503, 504}

PODS = "/api/v1/namespaces/{}/pods"
SECRETS = "/api/v1/namespaces/{}/secrets"
ACCOUNTS = "/api/v1/namespaces/{}/serviceaccounts"
SERVICES = "/api/v1/namespaces/{}/services"
CONFIG_MAPS = "/api/v1/namespaces/{}/configmaps"
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"
EVENTS = "/api/v1/namespaces/{}/events"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
NAMESPACES = "/api/v1/namespaces"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
JOBS = "/apis/batch/v1/namespaces/{}/jobs"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/{}/workflows"
TRAINJOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{}/trainjobs"
SERVICES_OF_MODELS = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"
RUNTIMES = "/apis/serving.kserve.io/v1alpha1/namespaces/{}/servingruntimes"
WORKLOADS = "/apis/kueue.x-k8s.io/v1beta2/namespaces/{}/workloads"
LOCAL_QUEUES = "/apis/kueue.x-k8s.io/v1beta2/namespaces/{}/localqueues"
CLUSTER_QUEUES = "/apis/kueue.x-k8s.io/v1beta2/clusterqueues"
FLAVORS = "/apis/kueue.x-k8s.io/v1beta2/resourceflavors"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles"
ROLE_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings"
CLUSTER_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
CLUSTER_ROLE_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


class KubeError(Exception):
    """The API refused, with its status and its words."""

    def __init__(self, method: str, path: str, status: int, words: str) -> None:
        super().__init__(f"{method} {path}: {status}: {words}")
        self.status = status
        self.words = words


class Kube:
    """Calls wait out short hiccups of the API. A 404 on reading or deleting is an answer, no error."""

    def __init__(self, connection: "ApiClient", pause: Callable[[float], None] = time.sleep) -> None:
        self._connection = connection
        self._pause = pause

    @property
    def address(self) -> str:
        """Where the API is."""
        return str(self._connection.configuration.host)

    def get(self, path: str) -> Object | None:
        """The object at a path, none if there is none."""
        try:
            return self._call("GET", path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def responds(self) -> bool:
        """Whether the API answers now; asked once, so not waited for."""
        try:
            return bool(self._call("GET", "/version", hiccups=()))
        except KubeError:
            return False

    def find(self, path: str, labels: str | None = None, fields: str | None = None) -> list[Object]:
        """Objects of a collection, by label and field selectors; none where the API is not served."""
        query = [("labelSelector", labels), ("fieldSelector", fields)]
        found = self._ask("GET", path, query=[(name, value) for name, value in query if value], absent={"items": []})
        return list((found or {}).get("items") or [])

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object in a collection. Raises `KubeError`."""
        query = [("fieldValidation", "Strict")] + ([("dryRun", "All")] if dry_run else [])
        return self._call("POST", path, query=query, body=body)

    def merge(self, path: str, patch: Object) -> Object:
        """Change an object by a JSON merge patch. Raises `KubeError`."""
        return self._call("PATCH", path, body=patch, content="application/merge-patch+json")

    def delete(self, path: str, *, uid: str | None = None, grace_s: int | None = None) -> bool:
        """Delete an object, only the one with `uid` if that is given. Says whether there was one."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            self._call("DELETE", path, body=options)
        except KubeError as error:
            if error.status in (404, 409):  # gone, or another object by now
                return False
            raise
        return True

    def log(self, namespace: str, pod: str, container: str, *, lines: int = 4000) -> str:
        """The end of a container's log; a line in its place where there is none."""
        path = f"{PODS.format(namespace)}/{pod}/log"
        query = [("container", container), ("tailLines", str(lines))]
        try:
            return self._text(path, query)
        except KubeError as error:
            return f"(no log of {pod}/{container}: {error.words})"

    def serves(self, group_version: str, resource: str) -> bool:
        """Whether the cluster has an API."""
        found = self.get(f"/apis/{group_version}") or {}
        return any(each["name"] == resource for each in found.get("resources", []))

    def _ask(self, method: str, path: str, *, absent: Object, **fields: Any) -> Object:
        try:
            return self._call(method, path, **fields)
        except KubeError as error:
            if error.status == 404:
                return absent
            raise

    def _text(self, path: str, query: list[tuple[str, str]]) -> str:
        # With a response type the client would read a log of one JSON line as an object.
        answer = self._send("GET", path, query=query, raw=True)
        return str(answer.data.decode("utf-8", "replace"))

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content: str = "application/json",
        hiccups: tuple[int, ...] = _HICCUPS_S,
    ) -> Object:
        answer = self._send(method, path, query=query or [], body=body, content=content, hiccups=hiccups)
        return answer if isinstance(answer, dict) else {}

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]],
        body: Object | None = None,
        content: str = "application/json",
        raw: bool = False,
        hiccups: tuple[int, ...] = _HICCUPS_S,
    ) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        for pause in (*hiccups, None):
            try:
                return self._connection.call_api(
                    path,
                    method,
                    query_params=list(query),
                    header_params={"Accept": "*/*" if raw else "application/json", "Content-Type": content},
                    body=body,
                    response_type=None if raw else "object",
                    auth_settings=["BearerToken"],
                    _preload_content=not raw,
                    _return_http_data_only=True,
                    _request_timeout=_TIMEOUT_S,
                )
            except ApiException as error:
                status = int(error.status or 0)
                if pause is None or status not in _TRANSIENT:
                    raise KubeError(method, path, status, _words(error)) from error
            except (HTTPError, OSError) as error:
                if pause is None:
                    raise KubeError(method, path, 0, f"the API cannot be reached: {error}") from error
            self._pause(pause)
        raise AssertionError("unreachable")


def _words(error: Any) -> str:
    """The message of the API's Status, a webhook's own words among them."""
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    return str(told["message"]) if isinstance(told, dict) and told.get("message") else body or str(error.reason)


def labels_of(thing: Object) -> dict[str, str]:
    """An object's labels."""
    return dict(thing.get("metadata", {}).get("labels") or {})


def condition(thing: Object | None, kind: str) -> Object | None:
    """The condition of a type in an object's status."""
    conditions = ((thing or {}).get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), None)


def is_true(thing: Object | None, kind: str) -> bool:
    """Whether a condition is there and true."""
    return (condition(thing, kind) or {}).get("status") == "True"


def conditions(thing: Object | None) -> str:
    """All conditions in one line, with reasons and messages of those that are not true."""
    found = ((thing or {}).get("status") or {}).get("conditions") or []
    words = []
    for each in found:
        why = ": ".join(text for text in (each.get("reason"), each.get("message")) if text)
        words.append(f"{each['type']}={each['status']}" + (f" ({why})" if why and each["status"] != "True" else ""))
    return ", ".join(words) or "no conditions yet"

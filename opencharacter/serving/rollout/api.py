"""The few calls to the Kubernetes API that a rollout needs, in one namespace. Hiccups are waited out."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from opencharacter.errors import OpenCharacterError
from opencharacter.kube import API_TIMEOUT_S, Cause, cause_of, patiently, refused
from opencharacter.serving.manifest import GROUP, PLURAL, VERSION
from opencharacter.serving.rollout.outcome import Reason

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

FIELD_MANAGER = "opencharacter"
"""Owns what the manifest says, by server-side applies."""

ROLLOUT_MANAGER = "opencharacter-rollout"
"""Changes what holds only while a version is brought in: the canary, and the old version's share of the pods."""

_DELAYS_S = (1, 2, 4, 8, 15, 30, 30, 30)
"""Pauses between attempts: a control plane may be away for a minute or two while it is upgraded."""

RIGHTS_HINT = "see the rules of deploy in the chart's Role opencharacter-pipeline"

_HINTS = {
    Cause.LOGIN: "the credentials are not valid (any more)",
    Cause.RIGHTS: RIGHTS_HINT,
    Cause.NO_NAMESPACE: "make the namespace, or set deploy.namespace",
    Cause.NO_RESOURCE: "is KServe 0.20 or newer installed in the cluster?",
    Cause.INVALID: "does the cluster run KServe 0.20 or newer, which knows spec.canary?",
}

Object = dict[str, Any]


class Refusal(Exception):
    """The API refuses a call for good: `error` says so in the server's words."""

    def __init__(self, error: OpenCharacterError, cause: Cause) -> None:
        super().__init__(str(error))
        self.error, self.cause = error, cause

    @property
    def reason(self) -> Reason:
        """`cluster` for trouble of the server's own."""
        return "cluster" if self.cause is Cause.OTHER else "refused"


class Namespace:
    """Objects of one namespace, as plain dicts. Raises `Refusal`."""

    def __init__(self, connection: "ApiClient", name: str, pause: Callable[[float], None]) -> None:
        """`pause` waits so many seconds."""
        self.name = name
        self._connection = connection
        self._pause = pause

    def service(self, name: str) -> Object | None:
        """A Service, if there is one."""
        return self._get(f"/api/v1/namespaces/{self.name}/services/{name}", "get services")

    def deployment(self, name: str) -> Object | None:
        """A Deployment, if there is one."""
        return self._get(f"/apis/apps/v1/namespaces/{self.name}/deployments/{name}", "get deployments")

    def inference_service(self, name: str) -> Object | None:
        """An InferenceService, if there is one."""
        return self._get(self._inference_services(name), "get inferenceservices")

    def pods(self, label: str) -> list[Object]:
        """The pods whose label `app` is this."""
        path, query = f"/api/v1/namespaces/{self.name}/pods", [("labelSelector", f"app={label}")]
        return list((self._call("GET", path, "list pods", query=query) or {}).get("items", []))

    def log(self, pod: str, container: str, *, lines: int, previous: bool) -> str:
        """The last lines of a container's log; `previous`: of the run before its last restart."""
        path, query = f"/api/v1/namespaces/{self.name}/pods/{pod}/log", [("container", container)]
        query += [("tailLines", str(lines))] + ([("previous", "true")] if previous else [])
        return str(self._call("GET", path, "read the logs of pods", query=query, kind="str", patient=False))

    def runtimes(self) -> list[Object]:
        """The namespace's ServingRuntimes."""
        path = f"/apis/{GROUP}/v1alpha1/namespaces/{self.name}/servingruntimes"
        return list((self._call("GET", path, "list servingruntimes") or {}).get("items", []))

    def cluster_runtimes(self) -> list[Object]:
        """The cluster's ClusterServingRuntimes."""
        path = f"/apis/{GROUP}/v1alpha1/clusterservingruntimes"
        return list((self._call("GET", path, "list clusterservingruntimes") or {}).get("items", []))

    def apply_inference_service(self, manifest: Object) -> Object:
        """Merge an InferenceService server-side; returns it as it is then."""
        path = self._inference_services(manifest["metadata"]["name"])
        return self._apply(path, manifest, "apply inferenceservices")

    def change_inference_service(self, name: str, change: Object) -> None:
        """Set some fields of an InferenceService that exists, and leave all others as they are.

        No server-side apply: where KServe's definitions have no schema (`kserve-crd-minimal`), `spec` is atomic, and
        an apply of a part takes the rest away.
        """
        query = [("fieldManager", ROLLOUT_MANAGER), ("fieldValidation", "Strict")]
        headers = {"Content-Type": "application/merge-patch+json"}
        self._call(
            "PATCH",
            self._inference_services(name),
            "patch inferenceservices",
            query=query,
            headers=headers,
            body=change,
        )

    def apply_service(self, manifest: Object) -> Object:
        """Merge a Service server-side; returns it as it is then."""
        path = f"/api/v1/namespaces/{self.name}/services/{manifest['metadata']['name']}"
        return self._apply(path, manifest, "apply services")

    def may(self, verb: str, resource: str, subresource: str = "") -> bool:
        """Whether this account has a right here; true where the cluster does not say."""
        attributes = {"namespace": self.name, "verb": verb, "resource": resource, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        try:
            answer = self._call("POST", path, "ask for its own rights", body=review)
        except Refusal:
            return True
        return bool(((answer or {}).get("status") or {}).get("allowed", True))

    def delete_scaler(self, name: str) -> None:
        """Delete the autoscaler of a predictor that is gone, where there is one and the account may: KServe leaves it.

        Nothing depends on it: an autoscaler without a target does nothing.
        """
        for group, plural in (("autoscaling/v2", "horizontalpodautoscalers"), ("keda.sh/v1alpha1", "scaledobjects")):
            path = f"/apis/{group}/namespaces/{self.name}/{plural}/{name}"
            try:
                self._call("DELETE", path, f"delete {plural}", patient=False)
            except (Refusal, OpenCharacterError):
                continue

    def post_through_server(self, service: str, port: int, path: str, body: Object, headers: Mapping[str, str]) -> Any:
        """Post to a Service by way of the API server. Raises `kubernetes.client.ApiException` as it comes."""
        target = f"/api/v1/namespaces/{self.name}/services/{service}:{port}/proxy{path}"
        return self._request("POST", target, headers=headers, body=body, timeout=(API_TIMEOUT_S[0], 300))

    def _inference_services(self, name: str) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.name}/{PLURAL}/{name}"

    def _get(self, path: str, doing: str) -> Object | None:
        found = self._call("GET", path, doing)
        return found if isinstance(found, dict) else None

    def _apply(self, path: str, manifest: Object, doing: str) -> Object:
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        headers = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
        applied = self._call("PATCH", path, doing, query=query, headers=headers, body=manifest)
        return applied if isinstance(applied, dict) else {}

    def _call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        query: list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: str = "object",
        patient: bool = True,
    ) -> Any:
        """The answer; none where a GET or DELETE finds nothing. Tries for some minutes if `patient`."""
        from kubernetes.client import ApiException

        try:
            return patiently(
                lambda: self._request(method, path, query=query, headers=headers, body=body, kind=kind),
                doing=f"{doing} in namespace {self.name}",
                pause=self._pause,
                delays_s=_DELAYS_S if patient else (),
                hint="what runs in the cluster goes on; deploy again to continue",
            )
        except ApiException as error:
            if error.status == 404 and method != "PATCH" and cause_of(error) is Cause.NO_RESOURCE:
                return None
            raise self._refusal(error, doing) from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: str = "object",
        timeout: tuple[int, int] = API_TIMEOUT_S,
    ) -> Any:
        given = {"Accept": "*/*" if kind == "str" else "application/json"} | dict(headers or {})
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        answer = self._connection.call_api(
            path,
            method,
            query_params=query or [],
            header_params=given,
            body=body,
            response_type=kind,
            auth_settings=["BearerToken"],
            _request_timeout=timeout,
        )
        return answer[0]

    def _refusal(self, error: "ApiException", doing: str) -> Refusal:
        cause = cause_of(error)
        return Refusal(refused(error, f"{doing} in namespace {self.name}", hints=_HINTS), cause)

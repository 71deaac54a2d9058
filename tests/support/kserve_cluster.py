"""A stand-in of a cluster with KServe in standard mode, for there is none in the tests: it speaks the Kubernetes API.

Time does not pass by itself: whenever the code under test would wait it calls `KServeCluster.pause`, and each time the
controllers go one step on. KServe brings objects up to date in one step, the Deployment controller makes pods in the
next, and they become ready in the one after, unless `obstacles` says otherwise. The InferenceService's Ready stays true
while a new version comes up, as the real one does.
"""

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support import stand_in
from support.cluster_records import Records
from support.kserve_rules import (
    canary_replicas,
    denial,
    host_fault,
    inherited,
    predictor_service,
    supporting_runtimes,
)
from support.server_side_apply import Applied

Object = dict[str, Any]

NAMESPACE = "play"
GOOD_ANSWER = "I am a clockmaker, and the bell of Sorne was the last thing I mended."

_SERVING = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
_RUNTIMES = f"/apis/serving.kserve.io/v1alpha1/namespaces/{NAMESPACE}/servingruntimes"
_CLUSTER_RUNTIMES = "/apis/serving.kserve.io/v1alpha1/clusterservingruntimes"
_SERVICES, _PODS = f"/api/v1/namespaces/{NAMESPACE}/services", f"/api/v1/namespaces/{NAMESPACE}/pods"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_SCALERS = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
_CLASS = "serving.kserve.io/autoscalerClass"
_MOST_PAUSES = 2000

RUNTIME: Object = {
    "metadata": {"name": "opencharacter", "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {
        "labels": {"app.kubernetes.io/component": "server"},
        "supportedModelFormats": [{"name": "opencharacter", "version": "1", "autoSelect": True, "priority": 1}],
        "protocolVersions": ["v2"],
        "containers": [{"name": "kserve-container"}, {"name": "transformer-container"}],
    },
}


class KServeCluster:
    """One namespace with KServe, its Deployments, Services and pods, and what each model answers."""

    def __init__(self) -> None:
        self.runtimes: list[Object] = [copy.deepcopy(RUNTIME)]
        self.cluster_runtimes: list[Object] = []
        self.inference_services: dict[str, Applied] = {}
        self.services: dict[str, Applied] = {}
        self.deployments: dict[str, Object] = {}
        self.scalers: dict[str, Object] = {}
        self.pods: list[Object] = []
        self.logs: dict[str, str] = {}
        """By container: what its pods have printed."""
        self.obstacles: dict[str, Object] = {}
        """By storageUri: the status of its pods, which never become ready."""
        self.answers: dict[str, list[Object | int]] = {}
        """By storageUri: chat completions or HTTP statuses to come; the last one stays."""
        self.asked: list[tuple[str, Object]] = []
        """Service and request of each question."""
        self.api_key: str | None = None
        """What the endpoints ask for."""
        self.minimal_definitions = False
        """Whether it is KServe's `kserve-crd-minimal`: the `spec` of an InferenceService is atomic then."""
        self.forbidden: set[tuple[str, str]] = set()
        """Verb and resource that the account has no right to: `("list", "pods")`."""
        self.used: set[tuple[str, str]] = set()
        """Verbs and resources of the requests so far."""
        self.denials: list[tuple[str, str]] = []
        """Part of a path, and the words of another webhook that denies its next apply."""
        self.faulty_applies: list[tuple[int, str]] = []
        """Status and words that the next applies of an InferenceService get."""
        self.script: dict[int, Callable[[], object]] = {}
        """What happens besides in a pause, by its number from 1."""
        self.applied: list[tuple[str, str, Object]] = []
        """Kind, field manager and body of each server-side apply and merge patch that was let in."""
        self.faults: list[str] = []
        """What KServe's reconciliation failed on."""
        self.gaps: list[str] = []
        """Moments at which no ready pod was behind the address, though one had been."""
        self.outages: list[int] = []
        """Statuses that the next requests get, whatever they are."""
        self.records = Records()
        """Leases and Events."""
        self.pauses = 0
        self._routes: dict[str, dict[str, str]] = {}
        """By Service: the selector that the endpoints follow, as of the last pause."""
        self._served: set[str] = set()
        self._made = 0

    # What tests ask

    def service(self, name: str) -> Object:
        """An InferenceService as it is."""
        return self.inference_services[name].object

    def behind(self, name: str) -> list[Object]:
        """The ready pods behind a Service."""
        selector = self._routes.get(name) or self.services[name].object["spec"]["selector"]
        return [pod for pod in self.pods if _ready(pod) and selector.items() <= pod["metadata"]["labels"].items()]

    def models_behind(self, name: str) -> set[str]:
        """The storageUris of the ready pods behind a Service."""
        return {pod["spec"]["storageUri"] for pod in self.behind(name)}

    # Time

    def pause(self, _: float) -> None:
        """Stands for `time.sleep`: every controller goes a step on."""
        self.pauses += 1
        if self.pauses > _MOST_PAUSES:
            pytest.fail("the code under test waits for something that will not happen")
        if happens := self.script.get(self.pauses):
            happens()
        for deployment in list(self.deployments.values()):
            self._roll(deployment)
        for applied in list(self.inference_services.values()):
            self._reconcile(applied.object)
        self._routes = {name: each.object["spec"].get("selector") or {} for name, each in self.services.items()}
        self.look()

    def look(self) -> None:
        """Note whether requests to an address would be lost now."""
        for name in self.inference_services:
            if name not in self.services:
                continue
            if self.behind(name):
                self._served.add(name)
            elif name in self._served:
                self.gaps.append(f"pause {self.pauses}: nothing behind {name}")

    # The API server

    def apply(self, kind: str, name: str, manager: str, body: Object, *, merge: bool = False) -> tuple[int, Object]:
        """A server-side apply, or a JSON merge patch: status and answer."""
        for part, words in list(self.denials):
            if part in f"{kind}/{name}":
                self.denials.remove((part, words))
                return 403, _denied("other.example.com", words)
        if kind == "inferenceservices" and self.faulty_applies:
            code, words = self.faulty_applies.pop(0)
            return code, {"kind": "Status", "code": code, "message": words}
        store = self.inference_services if kind == "inferenceservices" else self.services
        if merge and name not in store:
            return 404, _missing(name)
        atomic = kind == "inferenceservices" and self.minimal_definitions
        before = store.get(name) or Applied(*([("spec",)] if atomic else []))
        after = before.merged(manager, body) if merge else before.tried(manager, body)
        if kind == "inferenceservices":
            if words := denial(before.object or None, after.object):
                return 403, _denied("inferenceservice.kserve-webhook-server.validator", words)
            after.object["metadata"]["annotations"].setdefault("modelFormat", "opencharacter")
        metadata = after.object["metadata"]
        metadata.setdefault("uid", f"uid-{name}")
        if before.object.get("spec") != after.object.get("spec"):
            metadata["generation"] = before.object.get("metadata", {}).get("generation", 0) + 1
        store[name] = after
        self.applied.append((kind, manager, body))
        self.look()
        return 200, after.object

    def delete(self, kind: str, name: str) -> bool:
        return kind == "horizontalpodautoscalers" and self.scalers.pop(name, None) is not None

    def answer(self, service: str) -> tuple[int, Object]:
        """What a Service answers to a chat request, by the API server's proxy."""
        if service not in self.services or not (pods := self.behind(service)):
            return 503, {"kind": "Status", "message": f'no endpoints available for service "{service}"'}
        left = self.answers.get(pods[0]["spec"]["storageUri"], [])
        given = (left.pop(0) if len(left) > 1 else left[0]) if left else completion(GOOD_ANSWER)
        return (given, {"message": "the model server says so"}) if isinstance(given, int) else (200, given)

    # KServe

    def _reconcile(self, service: Object) -> None:
        name, spec = service["metadata"]["name"], service["spec"]
        stable, canaries = spec["predictor"], spec.get("canary") or []
        status = service.setdefault("status", {"conditions": []})
        found = supporting_runtimes(stable["model"], self.runtimes, self.cluster_runtimes)
        if not found:
            message = "No runtime found to support specified framework/version"
            status["modelStatus"] = {
                "transitionStatus": "InvalidSpec",
                "lastFailureInfo": {"reason": "NoSupportingRuntime", "message": message},
            }
            return
        status["servingRuntimeName"] = found[0]["metadata"]["name"]
        own = predictor_service(name, stable.get("name"))
        if fault := host_fault(own, NAMESPACE):
            _condition(status, "PredictorReady", "False", "ReconcileFailed", fault)
            return
        taken = sum(canary_replicas(stable, entry) for entry in canaries)
        fewest = max(stable.get("minReplicas", 1) - taken, 1) if canaries else stable.get("minReplicas", 1)
        self._predictor(service, stable, found[0], fewest, stable.get("maxReplicas", 0))
        expected = {own}
        for entry in canaries:
            predictor = inherited(stable, entry["predictor"])
            expected.add(predictor_service(name, predictor["name"]))
            self._predictor(service, predictor, found[0], canary_replicas(stable, entry), 0)
        self._remove_orphans(name, expected)
        # Never false again once a Deployment of the stable predictor has been available.
        if self.deployments[own]["status"].get("availableReplicas"):
            _condition(status, "Ready", "True", "", "")

    def _predictor(self, service: Object, predictor: Object, runtime: Object, fewest: int, most: int) -> None:
        metadata = service["metadata"]
        name = predictor_service(metadata["name"], predictor.get("name"))
        annotations = metadata["annotations"] | predictor.get("annotations", {})
        labels = runtime["spec"]["labels"] | metadata["labels"]
        labels |= {"serving.kserve.io/inferenceservice": metadata["name"], "component": "predictor"}
        owned = {"name": name, "labels": labels, "annotations": annotations}
        service_spec = {
            "selector": {"app": "isvc." + name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        }
        self.services.setdefault(name, Applied()).object = {"metadata": owned, "spec": service_spec}
        # The name and the scaling are no part of the pods.
        pod = {key: value for key, value in predictor.items() if key not in ("name", "annotations", *_SCALING)}
        template = {
            "metadata": {"labels": labels | {"app": "isvc." + name}, "annotations": annotations},
            "spec": pod | {"storageUri": predictor["model"]["storageUri"]},
        }
        fresh = {"metadata": owned | {"generation": 0}, "spec": {"replicas": 1, "template": None}, "status": {}}
        deployment = self.deployments.setdefault(name, fresh)
        wanted = copy.deepcopy(deployment["spec"]) | {"template": copy.deepcopy(template)}
        autoscaler = annotations.get(_CLASS, "hpa")
        if autoscaler == "none":
            wanted["replicas"] = fewest
            self.scalers.pop(name, None)
        elif autoscaler == "keda" and "autoScaling" not in predictor:
            self.faults.append(f"KEDA refuses a ScaledObject without triggers for {name}")
        elif autoscaler in ("hpa", "keda"):
            self.scalers[name] = {"minReplicas": max(fewest, 1), "maxReplicas": max(most, fewest, 1)}
        if wanted != deployment["spec"]:
            deployment["spec"] = wanted
            deployment["metadata"]["annotations"] = annotations
            deployment["metadata"]["generation"] += 1

    def _remove_orphans(self, name: str, expected: set[str]) -> None:
        """KServe deletes Deployments and Services with its labels that it doesn't expect, whoever made them."""

        def orphan(metadata: Object) -> bool:
            labels = metadata.get("labels") or {}
            mine = labels.get("serving.kserve.io/inferenceservice") == name and labels.get("component") == "predictor"
            return mine and metadata["name"] not in expected

        for gone in [each for each in self.deployments.values() if orphan(each["metadata"])]:
            del self.deployments[gone["metadata"]["name"]]
            self.pods = [pod for pod in self.pods if pod["owner"] != gone["metadata"]["name"]]
        for lost in [
            each.object["metadata"]["name"] for each in self.services.values() if orphan(each.object["metadata"])
        ]:
            del self.services[lost]

    # The Deployment controller

    def _roll(self, deployment: Object) -> None:
        """One step of a rolling update: a pod more than wanted at most, and none fewer ready."""
        name, spec = deployment["metadata"]["name"], deployment["spec"]
        if scaler := self.scalers.get(name):
            replicas = min(max(spec["replicas"], scaler["minReplicas"]), scaler["maxReplicas"])
            if replicas != spec["replicas"]:
                spec["replicas"] = replicas
                deployment["metadata"]["generation"] += 1
        mine = [pod for pod in self.pods if pod["owner"] == name]
        new = [pod for pod in mine if pod["template"] == spec["template"]]
        old = [pod for pod in mine if pod["template"] != spec["template"]]
        for pod in new:
            if spec["template"]["spec"]["storageUri"] not in self.obstacles:
                pod["status"] = {"conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": []}
        ready = sum(_ready(pod) for pod in mine)
        for pod in old:
            if ready > spec["replicas"] or not _ready(pod):
                self.pods.remove(pod)
                ready -= _ready(pod)
        for pod in new[spec["replicas"] :]:
            self.pods.remove(pod)
        mine = [pod for pod in self.pods if pod["owner"] == name]
        new = [pod for pod in mine if pod["template"] == spec["template"]]
        if len(new) < spec["replicas"] and len(mine) <= spec["replicas"]:
            room = spec["replicas"] + 1 - len(mine) if old else spec["replicas"] - len(new)
            for _ in range(min(room, spec["replicas"] - len(new))):
                new.append(self._pod(name, spec["template"]))
        mine = [pod for pod in self.pods if pod["owner"] == name]
        deployment["status"] |= {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(mine),
            "updatedReplicas": len(new),
            "availableReplicas": sum(_ready(pod) for pod in mine),
        }

    def _pod(self, owner: str, template: Object) -> Object:
        self._made += 1
        name = f"{owner}-{self._made}"
        pod = {
            "owner": owner,
            "template": copy.deepcopy(template),
            "metadata": {"name": name, "uid": f"uid-{name}"} | copy.deepcopy(template["metadata"]),
            "spec": copy.deepcopy(template["spec"]),
            "status": copy.deepcopy(self.obstacles.get(template["spec"]["storageUri"], {})),
        }
        self.pods.append(pod)
        return pod


_SCALING = ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "autoScaling")


def completion(text: str, end: str = "stop") -> Object:
    """A chat completion."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": end}]}


def _ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _condition(status: Object, kind: str, value: str, reason: str, message: str) -> None:
    status["conditions"] = [each for each in status["conditions"] if each["type"] != kind]
    status["conditions"].append({"type": kind, "status": value, "reason": reason, "message": message})


def _denied(webhook: str, words: str) -> Object:
    message = f'admission webhook "{webhook}" denied the request: {words}'
    return {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}


def _forbidden(verb: str, resource: str) -> Object:
    message = (
        f'{resource} is forbidden: User "system:serviceaccount:{NAMESPACE}:deployer" cannot {verb} resource '
        f'"{resource}" in API group "" in the namespace "{NAMESPACE}"'
    )
    return {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}


def _missing(name: str) -> Object:
    message = f'"{name}" not found'
    return {"kind": "Status", "reason": "NotFound", "code": 404, "message": message, "details": {"name": name}}


def _handler(cluster: KServeCluster) -> type[stand_in.Handler]:
    class Handler(stand_in.Handler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            path = url.path
            if self._is_record("GET"):
                return
            if re.fullmatch(f"{_PODS}/([^/]+)/log", path):
                if self._may("get", "pods/log"):
                    container = parse_qs(url.query)["container"][0]
                    self.text(200, cluster.logs.get(container, ""))
            elif path == _PODS:
                if self._may("list", "pods"):
                    label = parse_qs(url.query)["labelSelector"][0].removeprefix("app=")
                    self._list([pod for pod in cluster.pods if pod["metadata"]["labels"]["app"] == label])
            elif path == _RUNTIMES:
                if self._may("list", "servingruntimes"):
                    self._list(cluster.runtimes)
            elif path == _CLUSTER_RUNTIMES:
                if self._may("list", "clusterservingruntimes"):
                    self._list(cluster.cluster_runtimes)
            else:
                self._one(path)

        def do_PATCH(self) -> None:
            url, body = urlsplit(self.path), self.body()
            merge = self.headers["Content-Type"] == "application/merge-patch+json"
            assert merge or self.headers["Content-Type"] == "application/apply-patch+yaml"
            kind, name = url.path.split("/")[-2:]
            query = parse_qs(url.query)
            assert query["fieldValidation" if merge else "force"] == ["Strict" if merge else "true"]
            exists = name in (cluster.inference_services if kind == "inferenceservices" else cluster.services)
            if self._may("patch", kind) and (merge or exists or self._may("create", kind)):
                self.answer(*cluster.apply(kind, name, query["fieldManager"][0], body, merge=merge))

        def do_PUT(self) -> None:
            if not self._is_record("PUT", self.body()):
                self.answer(404, _missing(self.path))

        def _is_record(self, method: str, body: Object | None = None) -> bool:
            answer = cluster.records.answer(method, urlsplit(self.path).path, body)
            if answer:
                self.answer(*answer)
            return answer is not None

        def do_POST(self) -> None:
            body = self.body()
            if self._is_record("POST", body):
                return
            if self.path.endswith("/selfsubjectaccessreviews"):
                asked = body["spec"]["resourceAttributes"]
                resource = "/".join(part for part in (asked["resource"], asked["subresource"]) if part)
                allowed = (asked["verb"], resource) not in cluster.forbidden
                return self.answer(201, body | {"status": {"allowed": allowed}})
            found = re.fullmatch(f"{_SERVICES}/([^/:]+):80/proxy/openai/v1/chat/completions", self.path)
            if found and self._may("create", "services/proxy"):
                if cluster.api_key and self.headers.get("X-Api-Key") != cluster.api_key:
                    error = {"message": "no valid API key", "code": "invalid_api_key"}
                    return self.answer(401, {"error": error})
                cluster.asked.append((found.group(1), body))
                self.answer(*cluster.answer(found.group(1)))
            elif not found:
                self.answer(404, _missing(self.path))

        def do_DELETE(self) -> None:
            kind, name = self.path.split("/")[-2:]
            if self._may("delete", kind):
                gone = cluster.delete(kind, name)
                self.answer(200 if gone else 404, {"kind": "Status"} if gone else _missing(name))

        def _one(self, path: str) -> None:
            stores: dict[str, Any] = {
                _SERVING: {name: each.object for name, each in cluster.inference_services.items()},
                _SERVICES: {name: each.object for name, each in cluster.services.items()},
                _DEPLOYMENTS: cluster.deployments,
                _SCALERS: cluster.scalers,
            }
            folder, _, name = path.rpartition("/")
            kind = folder.rpartition("/")[2]
            if self._may("get", kind):
                found = stores.get(folder, {}).get(name)
                self.answer(404 if found is None else 200, _missing(name) if found is None else found)

        def _may(self, verb: str, resource: str) -> bool:
            cluster.used.add((verb, resource))
            if cluster.outages:
                self.answer(cluster.outages.pop(0), {"kind": "Status", "message": "the API server is not well"})
                return False
            if (verb, resource) in cluster.forbidden:
                self.answer(403, _forbidden(verb, resource))
                return False
            return True

        def _list(self, items: list[Object]) -> None:
            self.answer(200, json.loads(json.dumps({"items": items})))

    return Handler


@pytest.fixture
def kserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KServeCluster]:
    """The stand-in, named by the kubeconfig of this test, whose time passes wherever a rollout waits."""
    made = KServeCluster()
    with stand_in.serving(_handler(made)) as url:
        stand_in.use_kubeconfig(url, tmp_path, monkeypatch, NAMESPACE)
        monkeypatch.setattr("opencharacter.serving.rollout.rolling.sleep", made.pause)
        yield made

"""KServe's rules, as its 0.20 source has them: what its webhook denies, what it selects, what a canary inherits.

Written from the source (inference_service_validation.go, predictor_model.go, predictor.go, domain.go), not from the
code under test.
"""

import copy
import json
import math
import re
from typing import Any

Object = dict[str, Any]

_ANNOTATION = "serving.kserve.io/"


def placeholders(container: Object) -> set[str]:
    """What KServe's `replacePlaceholders` would ask Go's template engine for in a container of a runtime."""
    return {name.strip() for name in re.findall(r"\{\{(.*?)\}\}", json.dumps(container))}


def denial(old: Object | None, new: Object) -> str | None:
    """What the validating webhook says against an object; it does not look at runtimes."""
    name, annotations = new["metadata"]["name"], new["metadata"].get("annotations") or {}
    predictor = new["spec"]["predictor"]
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        return f'the InferenceService "{name}" is invalid'
    if old is not None:
        before = old["spec"]["predictor"]
        renamed = before.get("name") != predictor.get("name")
        if renamed and before["model"].get("storageUri") == predictor["model"].get("storageUri"):
            return "predictor.name change requires a model change (e.g. storageUri)"
    autoscaler = annotations.get(_ANNOTATION + "autoscalerClass")
    if autoscaler not in (None, "hpa", "external", "keda", "none"):
        return f"[{autoscaler}] is not a supported autoscaler class type"
    if "maxReplicas" in predictor and predictor.get("minReplicas", 1) > predictor["maxReplicas"]:
        return "MinReplicas cannot be greater than MaxReplicas"
    return _canary_denial(new["spec"].get("canary") or [], predictor, annotations)


def _canary_denial(canaries: list[Object], stable: Object, annotations: dict[str, str]) -> str | None:
    if canaries and annotations.get(_ANNOTATION + "deploymentMode") != "Standard":
        return "canary is only supported in Standard deployment mode"
    names: set[str] = set()
    for position, entry in enumerate(canaries):
        predictor = entry["predictor"]
        name = predictor.get("name")
        if not name:
            return f"canary[{position}] predictor.name is required"
        if name in names:
            return f'canary predictor.name "{name}" is duplicated'
        names.add(name)
        if name == stable.get("name"):
            return f'canary predictor.name "{name}" conflicts with stable predictor name'
        for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
            if predictor.get(field):
                return f'canary "{name}" must not set {field} (canary uses fixed replicas)'
        if predictor.get("minReplicas", 0) > stable.get("minReplicas", 1):
            return (
                f'canary "{name}" minReplicas ({predictor["minReplicas"]}) must not exceed stable predictor '
                f"minReplicas ({stable.get('minReplicas', 1)})"
            )
    if sum(entry["trafficPercent"] for entry in canaries) > 100:
        return "sum of canary trafficPercent values must be <= 100"
    return None


def supporting_runtimes(model: Object, namespaced: list[Object], cluster: list[Object]) -> list[Object]:
    """GetSupportingRuntimes, the selected one first."""
    wanted = "mt:" + model["modelFormat"]["name"]
    if "version" in model["modelFormat"]:
        wanted += ":" + model["modelFormat"]["version"]
    protocol = model.get("protocolVersion", "v1")

    def supports(spec: Object) -> bool:
        labels = set()
        for each in spec.get("supportedModelFormats", []):
            if each.get("autoSelect"):
                labels |= {f"mt:{each['name']}", f"mt:{each['name']}:{each.get('version')}"}
        spoken = spec.get("protocolVersions", [])
        odd = spec.get("disabled") or spec.get("multiModel") or "workerSpec" in spec
        return not odd and wanted in labels and (not spoken or protocol in spoken)

    def priority(runtime: Object) -> float:
        formats = runtime["spec"]["supportedModelFormats"]
        first = next(each for each in formats if each["name"] == model["modelFormat"]["name"])
        return -first.get("priority", -math.inf)

    return [
        runtime
        for group in (namespaced, cluster)
        for runtime in sorted((each for each in group if supports(each["spec"])), key=priority)
    ]


def inherited(stable: Object, canary: Object) -> Object:
    """buildCanaryPredictor: mergo with override, where what is empty in the canary overrides nothing."""
    merged = _merged(stable, canary)
    for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
        merged.pop(field, None)
    return merged


def _merged(target: Any, source: Any) -> Any:
    if isinstance(target, dict) and isinstance(source, dict):
        result = dict(target)
        for key, value in source.items():
            result[key] = _merged(target[key], value) if key in target else copy.deepcopy(value)
        return result
    return copy.deepcopy(source) if source not in ("", None, [], {}, 0) else target


def canary_replicas(stable: Object, entry: Object) -> int:
    """canaryReplicaCount."""
    percent = entry["trafficPercent"]
    return int(entry["predictor"].get("minReplicas", math.ceil(stable.get("minReplicas", 1) * percent / 100)))


def predictor_service(name: str, predictor: str | None) -> str:
    """PredictorServiceName."""
    return f"{name}-{predictor}-predictor" if predictor else f"{name}-predictor"


def host_fault(name: str, namespace: str) -> str | None:
    """GenerateDomainName, by the default template."""
    label = f"{name}-{namespace}"
    if len(label) <= 63:
        return None
    return f'failed creating host name: invalid domain name "{label}.example.com": must be no more than 63 characters'

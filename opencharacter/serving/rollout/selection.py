"""Which ServingRuntime KServe selects for a model, and why none: its rules, read in KServe 0.20.

`GetSupportingRuntimes`: of the runtimes that are enabled, neither multi-model nor multi-node, support the format (by
name, and by version if the model names one, each with `autoSelect`) and the protocol (an empty list is any protocol),
the namespace's go before the cluster's. Within each: a higher priority for the format's name first, then the lower
protocol version, the newer runtime, the name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Runtime = dict[str, Any]

_DEFAULT_PROTOCOL = "v1"
_PROTOCOLS = {"v1": 1, "v2": 2, "grpc-v1": 3, "grpc-v2": 4}
_UNKNOWN_PROTOCOL = 5

HINT = "a ServingRuntime for it comes with the chart: helm upgrade --install opencharacter charts/opencharacter"


@dataclass(frozen=True)
class Selection:
    """The runtime that is selected (none if none fits), and what each of the others has against the model."""

    name: str | None
    objections: dict[str, str]

    def explain(self, model: dict[str, Any]) -> str:
        """One sentence on why no runtime is selected."""
        model_format = f"format '{model['modelFormat']['name']}'"
        if version := model["modelFormat"].get("version"):
            model_format += f" version {version}"
        model_format += f" and protocol {model.get('protocolVersion') or _DEFAULT_PROTOCOL}"
        if not self.objections:
            return f"there is no ServingRuntime at all, so none for {model_format}"
        reasons = "; ".join(f"{name} {objection}" for name, objection in self.objections.items())
        return f"no ServingRuntime fits {model_format}: {reasons}"


def select_runtime(model: dict[str, Any], namespaced: Sequence[Runtime], cluster: Sequence[Runtime] = ()) -> Selection:
    """Select as KServe does. `model`: `spec.predictor.model` of an InferenceService without a `runtime` of its own."""
    objections: dict[str, str] = {}
    for group in (namespaced, cluster):
        fitting = []
        for runtime in group:
            if objection := _objection(model, runtime.get("spec") or {}):
                objections[runtime["metadata"]["name"]] = objection
            else:
                fitting.append(runtime)
        if fitting:
            return Selection(_first(fitting, model["modelFormat"]["name"])["metadata"]["name"], objections)
    return Selection(None, objections)


def _objection(model: dict[str, Any], spec: dict[str, Any]) -> str | None:
    if spec.get("disabled"):
        return "is disabled"
    if spec.get("multiModel"):
        return "is for several models in one server (multiModel)"
    if spec.get("workerSpec") is not None:
        return "is for several nodes (workerSpec)"
    if objection := _format_objection(model["modelFormat"], spec.get("supportedModelFormats") or []):
        return objection
    protocol, listed = model.get("protocolVersion") or _DEFAULT_PROTOCOL, spec.get("protocolVersions") or []
    if listed and protocol not in listed:
        return f"speaks protocol {', '.join(listed)}, not {protocol}"
    return None


def _format_objection(model_format: dict[str, Any], formats: Sequence[dict[str, Any]]) -> str | None:
    named = [each for each in formats if each["name"] == model_format["name"]]
    if not named:
        return f"serves {_listed(each['name'] for each in formats) or 'no format'} only"
    automatic = [each for each in named if each.get("autoSelect")]
    if not automatic:
        return f"serves {model_format['name']}, but not by itself (autoSelect)"
    version = model_format.get("version")
    if version is not None and version not in [each.get("version") for each in automatic]:
        return f"serves {model_format['name']} version {_listed(str(each.get('version')) for each in automatic)}"
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _first(fitting: list[Runtime], format_name: str) -> Runtime:
    ordered = sorted(fitting, key=lambda runtime: str(runtime["metadata"]["name"]))
    ordered.sort(key=lambda runtime: str(runtime["metadata"].get("creationTimestamp") or ""), reverse=True)
    ordered.sort(key=_lowest_protocol)
    ordered.sort(key=lambda runtime: _priority(runtime, format_name), reverse=True)
    return ordered[0]


def _lowest_protocol(runtime: Runtime) -> int:
    listed = runtime["spec"].get("protocolVersions") or []
    return min((_PROTOCOLS.get(each, _UNKNOWN_PROTOCOL) for each in listed), default=_UNKNOWN_PROTOCOL)


def _priority(runtime: Runtime, format_name: str) -> float:
    """That of the first entry of the format's name; one without goes last."""
    named = (each for each in runtime["spec"].get("supportedModelFormats") or [] if each["name"] == format_name)
    first = next(named, None)
    priority = first.get("priority") if first else None
    return float("-inf") if priority is None else float(priority)

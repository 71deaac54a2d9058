"""The next version beside the one in service: the canary entry of an InferenceService, and the scaling around it.

KServe's rules, read in 0.20: a canary has a predictor's name of its own, a fixed number of pods, at most as many as the
stable predictor's minReplicas, and no settings of an autoscaler. KServe takes the canary's pods off the stable
predictor's minReplicas, though not below one; it inherits what the entry leaves out from the stable predictor.
"""

from typing import Any

from opencharacter.serving.manifest import PODS_ANNOTATION
from opencharacter.serving.rollout.readiness import pods_digest

Object = dict[str, Any]

_SCALING = ("maxReplicas", "scaleMetric", "scaleTarget", "autoScaling")
_CLASS = "serving.kserve.io/autoscalerClass"


def storage_of(predictor: Object) -> str | None:
    """Where a predictor's weights are: by this KServe distinguishes models."""
    return (predictor.get("model") or {}).get("storageUri")


def canaries_of(service: Object) -> list[Object]:
    """The predictors of the canary entries."""
    return [entry["predictor"] for entry in service["spec"].get("canary") or []]


def scaling_of(service: Object) -> tuple[int, int]:
    """The stable predictor's fewest and most pods, without the room that `beside` made for canaries."""
    predictor = service["spec"]["predictor"]
    fewest = int(predictor.get("minReplicas", 1))
    room = sum(int(canary.get("minReplicas", 0)) for canary in canaries_of(service))
    room = room if fewest > room else 0
    return fewest - room, max(int(predictor.get("maxReplicas") or fewest) - room, fewest - room)


def beside(service: Object, manifest: Object, *, pods: int, percent: int) -> Object:
    """What to change for the manifest's predictor to run beside the stable one, which keeps all its pods."""
    fewest, most = scaling_of(service)
    # A single pod is not taken off, so it needs no room: there may be none for a third one.
    room = 0 if fewest == pods == 1 else pods
    predictor = {key: value for key, value in manifest["spec"]["predictor"].items() if key not in _SCALING}
    predictor["minReplicas"] = pods
    annotations = predictor["annotations"] | {PODS_ANNOTATION: dark_digest(service, manifest)}
    if annotations[_CLASS] == "keda":
        # KServe would make a ScaledObject without triggers, which KEDA refuses.
        annotations[_CLASS] = "none"
    predictor["annotations"] = annotations
    return _only(fewest + room, most + room, [{"predictor": predictor, "trafficPercent": percent}])


def dark_digest(service: Object, manifest: Object) -> str:
    """The digest of the canary's pods: the manifest's own where they need not change when they take over."""
    digest, new = pods_digest(manifest), manifest["spec"]["predictor"]
    same = new["annotations"][_CLASS] != "keda" and not _inherits(service["spec"]["predictor"]["model"], new["model"])
    return digest if same else digest + "-dark"


def _inherits(stable: Object, new: Object) -> bool:
    """Whether the canary gets settings of the stable predictor's that the next version is to be without."""
    if stable.get("args") and not new.get("args"):
        return True
    return any(
        (stable.get("resources") or {}).get(kind, {}).keys() - new["resources"][kind].keys()
        for kind in ("requests", "limits")
    )


def alone(scaling: tuple[int, int]) -> Object:
    """What to change for the stable predictor to be alone again, scaled as before."""
    return _only(*scaling, [])


def _only(fewest: int, most: int, canary: list[Object]) -> Object:
    return {"spec": {"predictor": {"minReplicas": fewest, "maxReplicas": most}, "canary": canary}}

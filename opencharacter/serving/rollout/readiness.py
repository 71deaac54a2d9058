"""Whether a Deployment is up to date and complete, by the rules of `kubectl rollout status`.

The InferenceService's own Ready stays true while a new version comes up, so it says nothing about it.
"""

from typing import Any

from opencharacter.serving.manifest import PODS_ANNOTATION

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
    status, wanted = deployment.get("status") or {}, max(int(deployment["spec"].get("replicas", 1)), at_least)
    if int(deployment["metadata"].get("generation", 0)) > int(status.get("observedGeneration", 0)):
        return "the Deployment's controller has not seen the change yet"
    updated, replicas = int(status.get("updatedReplicas", 0)), int(status.get("replicas", 0))
    available = int(status.get("availableReplicas", 0))
    if updated < wanted:
        return f"{updated} of {wanted} new pods are made"
    if replicas > updated:
        return f"{replicas - updated} pods from before are still there"
    if available < updated:
        return f"{available} of {updated} new pods are ready"
    return None

"""All checks together: for a platform engineer, and before a run is sent."""

import os

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.cluster import ClusterProfile
from opencharacter.pipelines.config import RunConfig
from opencharacter.pipelines.pods import pods_of
from opencharacter.pipelines.preflight.bucket import find_bucket
from opencharacter.pipelines.preflight.cluster import check_cluster
from opencharacter.pipelines.preflight.findings import Finding
from opencharacter.pipelines.preflight.images import find_image
from opencharacter.pipelines.preflight.needs import Needs, needs_of


def check_all(needs: Needs) -> list[Finding]:
    """Look for everything that is needed. Raises as `check_cluster` does."""
    findings = check_cluster(needs) + [find_image(image) for image in needs.images]
    return [*findings, find_bucket(needs.bucket)] if needs.bucket else findings


def check_before_run(
    config: RunConfig, profile: ClusterProfile | None, *, workspace: str, write: bool = True
) -> list[Finding]:
    """What a run would miss, as far as this machine can tell; what it cannot reach is `unknown`.

    GPUs are not asked for, since an autoscaler may have none before a pod waits for them. The bucket is asked only if
    this process has keys for it and the pods would find it at the same endpoint, and not at all unless it may `write`.
    """
    never = profile is not None and profile.images.pull_policy == "Never"
    images = () if never else sorted({pod.image for pod in pods_of(config, profile)})
    findings = [find_image(image) for image in images]
    if profile:
        try:
            findings += check_cluster(needs_of(profile).model_copy(update={"gpus": 0}))
        except OpenCharacterError as error:
            findings.append(Finding("Cluster", "unknown", str(error), error.hint))
    if write:
        elsewhere = _why_not_asked(profile)
        findings.append(Finding(f"Bucket {workspace}", "unknown", elsewhere) if elsewhere else find_bucket(workspace))
    return findings


def refuse_missing(findings: list[Finding], *, hint: str | None = None) -> None:
    """Raise a `UserError` that names what is missing, if anything is."""
    missing = [finding.subject for finding in findings if finding.state == "missing"]
    if missing:
        raise UserError(f"the cluster lacks: {', '.join(missing)}", hint=hint)


def _why_not_asked(profile: ClusterProfile | None) -> str | None:
    if not (os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
        return "not asked: this process has no keys for it (AWS_ACCESS_KEY_ID or AWS_PROFILE)"
    here = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    there = profile.env.get("AWS_ENDPOINT_URL_S3") or profile.env.get("AWS_ENDPOINT_URL") if profile else here
    if here != there:
        return f"not asked: the pods look for it at {there or 'AWS'}, this process at {here or 'AWS'}"
    return None

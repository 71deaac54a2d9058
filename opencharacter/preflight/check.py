"""All checks together: for a platform engineer, and before a run is sent."""

import os
from collections.abc import Iterable, Iterator

from opencharacter.cluster.spec import STEPS, Cluster, StepName
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.library import fingerprint
from opencharacter.preflight.bucket import find_bucket
from opencharacter.preflight.cluster import PIPELINES, check_cluster
from opencharacter.preflight.findings import Finding
from opencharacter.preflight.images import find_images
from opencharacter.preflight.needs import Needs, needs_of

_PLACES = (
    ("endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "AWS"),
    ("region", ("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1"),
)
"""Where an object store is, the variables that say so, and what holds without them."""


def check_all(needs: Needs) -> Iterator[Finding]:
    """Look for everything that is needed, one after another. Raises as `check_cluster` does."""
    yield from check_cluster(needs)
    yield from _images(needs)
    if needs.bucket:
        yield find_bucket(needs.bucket)


def check_before_run(
    cluster: Cluster | None, *, workspace: str, steps: Iterable[StepName] = STEPS, write: bool = True
) -> Iterator[Finding]:
    """Look for what a run would miss, as far as this machine can tell; what it cannot reach is `unknown`.

    Without a cluster the pods have the default images, and nothing is known of where they run. `steps` are those of
    the run. The bucket is asked only if this process has keys for it and would look where the pods do, and not at all
    unless it may `write`.
    """
    needs = needs_of(cluster or Cluster(name="none"), steps)
    yield from _images(needs)
    if cluster:
        yield from _as_far_as_seen(needs)
    if write:
        elsewhere = _why_not_asked(cluster)
        yield (
            Finding(f"Bucket {workspace}", "unknown", elsewhere)
            if elsewhere
            else find_bucket(workspace, own_keys=False)
        )


def _as_far_as_seen(needs: Needs) -> list[Finding]:
    try:
        findings = list(check_cluster(needs))
    except OpenCharacterError as error:
        return [Finding("Cluster", "unknown", str(error), error.hint)]
    except Exception as error:  # a kubeconfig or an answer that makes no sense tells nothing of the run's cluster
        return [Finding("Cluster", "unknown", f"cannot be asked: {str(error) or type(error).__name__}")]
    if any(each.subject == PIPELINES and each.state == "missing" for each in findings):
        return [Finding("Cluster", "unknown", "the kubeconfig's cluster has no Kubeflow Pipelines: not the run's own")]
    return findings


def refuse_missing(findings: list[Finding], *, hint: str | None = None) -> None:
    """Raise a `UserError` that names what is missing or differs, if anything does."""
    missing = [finding.subject for finding in findings if finding.state == "missing"]
    faults = [f"not found: {', '.join(missing)}"] if missing else []
    faults += [f"{finding.subject}: {finding.message}" for finding in findings if finding.state == "differs"]
    if faults:
        raise UserError("; ".join(faults), hint=hint)


def _images(needs: Needs) -> Iterator[Finding]:
    yield from find_images(needs.step_images, library=fingerprint())
    yield from find_images(image for image in needs.images if image not in needs.step_images)


def _why_not_asked(cluster: Cluster | None) -> str | None:
    if not (os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_PROFILE")):
        return "not asked: this process has no keys for it (AWS_ACCESS_KEY_ID or AWS_PROFILE)"
    for what, names, default in _PLACES:
        here, there = (
            next(filter(None, map(variables.get, names)), default)
            for variables in (os.environ, cluster.env if cluster else os.environ)
        )
        if here != there:
            return f"not asked: the {what} is {there} for the pods and {here} for this process"
    return None

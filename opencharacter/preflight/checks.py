"""Checks of a cluster, its images and its bucket: for a platform engineer, and before a run is sent."""

import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from opencharacter.cluster.checks import Issue
from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import Steps
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.library import fingerprint
from opencharacter.preflight.cluster import PIPELINES, check_cluster
from opencharacter.preflight.images import check_images
from opencharacter.preflight.requirements import Requirements, requirements_of
from opencharacter.registry import RegistryConfig, check_registry
from opencharacter.storage.s3.client import NoSuchBucket
from opencharacter.storage.workspace import Workspace
from opencharacter.tracking import URI_VARIABLE

_PLACES = (
    ("endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "AWS"),
    ("region", ("AWS_REGION", "AWS_DEFAULT_REGION"), "us-east-1"),
)
"""Where an object store is, the variables that say so, and what holds without them."""
_REACH_S = 3


def check_all(required: Requirements) -> Iterator[Issue]:
    """Look for everything that is needed, one after another. Raises as `check_cluster` does."""
    yield from check_cluster(required)
    yield from _images(required)
    if required.bucket:
        yield check_bucket(required.bucket)


def check_before_run(
    steps: Steps, cluster: Cluster | None, registry: RegistryConfig, *, workspace: str, write: bool = True
) -> Iterator[Issue]:
    """Look for what a run's steps would miss, as far as this machine can see; what it cannot reach is `unknown`.

    Without a cluster the pods have the default images, and nothing is known of where they run. The bucket is checked
    only if this process has keys for it and would look where the pods do, and not at all unless it may `write`.
    """
    required = requirements_of(steps, cluster or Cluster(name="none"))
    yield from _images(required)
    if cluster:
        yield from _as_far_as_seen(required)
        yield from _experiment(cluster, registry)
    if write:
        elsewhere = _why_not_asked(cluster)
        yield (
            Issue(f"Bucket {workspace}", "unknown", elsewhere) if elsewhere else check_bucket(workspace, own_keys=False)
        )


def _as_far_as_seen(required: Requirements) -> list[Issue]:
    try:
        issues = list(check_cluster(required))
    except OpenCharacterError as error:
        return [Issue("Cluster", "unknown", str(error), error.hint)]
    except Exception as error:  # a kubeconfig or an answer that makes no sense tells nothing of the run's cluster
        return [Issue("Cluster", "unknown", f"cannot be asked: {str(error) or type(error).__name__}")]
    if any(issue.subject == PIPELINES and issue.state == "missing" for issue in issues):
        return [Issue("Cluster", "unknown", "the kubeconfig's cluster has no Kubeflow Pipelines: not the run's own")]
    return issues


def _experiment(cluster: Cluster, registry: RegistryConfig) -> Iterator[Issue]:
    """Whether the run's experiment can be written to: found out at its end, after days, if nobody asks before."""
    subject = f"Experiment {registry.experiment}"
    uri = cluster.env.get(URI_VARIABLE, "")
    address = urlsplit(uri)
    if not address.hostname:
        return
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), timeout=_REACH_S).close()
    except (OSError, ValueError):
        yield Issue(subject, "unknown", f"not asked: MLflow at {uri} cannot be reached from here")
        return
    try:
        check_registry(registry, uri)
    except ImportError:
        yield Issue(subject, "unknown", "not asked: this machine has no MLflow client")
    except UserError as error:
        yield Issue(subject, "missing", str(error), error.hint)
    except OpenCharacterError as error:
        yield Issue(subject, "unknown", str(error), error.hint)
    else:
        yield Issue(subject, "ok", f"can be used at {uri}")


def require_present(issues: list[Issue], *, hint: str | None = None) -> None:
    """Raise a `UserError` that names what is missing or differs, if anything does."""
    missing = [issue.subject for issue in issues if issue.state == "missing"]
    faults = [f"not found: {', '.join(missing)}"] if missing else []
    faults += [f"{issue.subject}: {issue.message}" for issue in issues if issue.state == "differs"]
    if faults:
        raise UserError("; ".join(faults), hint=hint)


def _images(required: Requirements) -> Iterator[Issue]:
    yield from check_images(required.step_images, library=fingerprint())
    yield from check_images(image for image in required.images if image not in required.step_images)


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


def check_bucket(uri: str, *, own_keys: bool = True) -> Issue:
    """Whether `s3://BUCKET/PREFIX` takes a write with the `AWS_*` variables of this process.

    A small object is made there, `.conditional-writes`. Where the keys are not those that the run will have, only the
    bucket's absence is certain; other refusals are `unknown`.
    """
    subject = f"Bucket {uri}"
    try:
        Workspace(uri).check()
    except OpenCharacterError as error:
        sure = own_keys or isinstance(error, NoSuchBucket)
        return Issue(subject, "missing" if sure else "unknown", str(error), error.hint)
    return Issue(subject, "ok", "takes writes, and obeys their conditions")

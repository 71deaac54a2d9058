"""What the cluster does with a step that fails, and with one whose pod is lost."""

from collections.abc import Callable
from typing import Any

from opencharacter.cluster.workflow_defaults import CONFIG_MAP, retry_rules
from opencharacter.errors import UserError
from opencharacter.preflight.findings import Finding

RETRIES = "Retries"
_PLATFORM = "kubeflow"
"""Where Argo's controller is if it is not in the runs' namespace: a Kubeflow for several users has one for all."""
_HINT = "docs/install.md, step 'Platform': the patch of Argo's defaults makes retries those of the cluster file"


def find_retries(read: Callable[[str], Any], namespace: str, most: int, subject: str) -> Finding:
    """Put into words what becomes of a cluster file's retries, of which a step has `most` at most.

    `read` gets an object by its path, none if it is absent, and raises the client's `ApiException`.
    """
    config_map, refusal = _config_map(read, namespace)
    if config_map is None:
        return Finding(subject, "unknown", f"cannot tell what is tried again: {refusal}")
    try:
        rules = retry_rules(config_map)
    except UserError as error:
        return Finding(subject, "unknown", f"cannot tell what is tried again: {error}")
    again = f"up to {most} times" if most > 1 else "once"
    if rules.failed and rules.lost:
        words = f"a step that fails is tried again, {again}, and so is one whose pod is lost"
    elif rules.lost:
        words = (
            "a step that fails (its own error, out of memory) is NOT tried again on this cluster, whatever its file "
            f"says; one whose pod is lost (deleted, its node gone) is, {again}"
        )
    elif rules.failed:
        words = (
            f"a step that fails is tried again, {again}; one whose pod is lost (deleted, its node gone) is NOT on this "
            "cluster: submit the run again then"
        )
    else:
        words = "on this cluster a step is tried again only after errors that Argo considers transient"
    if rules.repeats:
        words += "; after each failure the loops and branches around the step begin again, too"
    true = rules.failed and rules.lost and not rules.repeats
    return Finding(subject, "ok" if true else "warning", words, None if true else _HINT)


def _config_map(read: Callable[[str], Any], namespace: str) -> tuple[Any, str]:
    """The controller's ConfigMap, or why there is none to be seen."""
    from kubernetes.client import ApiException

    refusal = ""
    places = list(dict.fromkeys([namespace, _PLATFORM]))
    for place in places:
        try:
            if found := read(f"/api/v1/namespaces/{place}/configmaps/{CONFIG_MAP}"):
                return found, ""
        except ApiException as error:
            refusal = f"this account may not read ConfigMap {place}/{CONFIG_MAP} ({error.status} {error.reason})"
    return None, refusal or f"there is no ConfigMap {CONFIG_MAP} in {' or '.join(places)}"

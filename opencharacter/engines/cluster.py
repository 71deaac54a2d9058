"""The Kubernetes API of the cluster that this process runs in, or that the kubeconfig names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from opencharacter.errors import OpenCharacterError, UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

API_TIMEOUT_S = (5, 30)
"""To connect, and to wait for an answer; the client tries three times more."""

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def in_pod() -> bool:
    """Whether this process runs in a pod of the cluster that `cluster_client` talks to."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _POD_NAMESPACE.is_file()


def cluster_namespace() -> str:
    """The namespace that is meant where none is named, in the cluster that `cluster_client` talks to.

    In a pod it is the pod's own; elsewhere that of the kubeconfig's current context, or `default`.
    """
    if in_pod():
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    from kubernetes import config

    try:
        _, current = config.list_kube_config_contexts()
        return str(current["context"].get("namespace") or "default")
    except Exception:  # the library lets all kinds through for a kubeconfig that is absent, or makes no sense
        return "default"


@contextmanager
def cluster_client(purpose: str) -> Iterator["ApiClient"]:
    """A client of the cluster; a pod's own service account goes before a kubeconfig.

    `purpose` starts the messages. Raises `UserError` where no cluster is configured, `OpenCharacterError` where it
    cannot be reached; refusals (`kubernetes.client.ApiException`) are the caller's to explain.
    """
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    try:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
    except (config.ConfigException, OSError) as error:
        raise UserError(
            f"{purpose}: no cluster to talk to: {error}", hint="set KUBECONFIG, or run in a pod of the cluster"
        ) from error
    try:
        with client.ApiClient() as api:
            yield api
    except HTTPError as error:
        raise OpenCharacterError(
            f"{purpose}: the cluster cannot be reached: {error}", hint="check the kubeconfig"
        ) from error

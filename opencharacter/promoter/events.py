"""Kubernetes Events about an InferenceService: `kubectl describe inferenceservice NAME` shows them."""

import os
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from opencharacter.kube import API_TIMEOUT_S, cluster_client, refused
from opencharacter.serving.manifest import GROUP, PLURAL, VERSION

Reason = Literal["RolloutStarted", "RolledOut", "RolloutFailed", "RolloutRefused", "AliasMissing"]
SendEvent = Callable[[Reason, str], None]

_COMPONENT = "opencharacter-promoter"
_GOOD: tuple[Reason, ...] = ("RolloutStarted", "RolledOut")
_MESSAGE_LENGTH = 1000
"""Kubernetes takes 1,024 bytes."""


def send_event(service: str, namespace: str, reason: Reason, message: str) -> None:
    """Record an Event with an InferenceService, which need not exist.

    Raises `OpenCharacterError` where the cluster refuses or cannot be reached.
    """
    from kubernetes import client

    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with cluster_client("event") as connection:
        try:
            event = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": f"{service}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
                "involvedObject": {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "InferenceService",
                    "name": service,
                    "namespace": namespace,
                    **_uid(connection, service, namespace),
                },
                "reason": reason,
                "message": message.encode()[:_MESSAGE_LENGTH].decode(errors="ignore"),
                "type": "Normal" if reason in _GOOD else "Warning",
                "source": {"component": _COMPONENT},
                "reportingComponent": _COMPONENT,
                "reportingInstance": os.environ.get("HOSTNAME", _COMPONENT),
                "firstTimestamp": now,
                "lastTimestamp": now,
                "count": 1,
            }
            client.CoreV1Api(connection).create_namespaced_event(
                namespace, event, _request_timeout=API_TIMEOUT_S, _preload_content=False
            )
        except client.ApiException as error:
            raise refused(error, f"create events in namespace {namespace}") from error


def _uid(connection: object, service: str, namespace: str) -> dict[str, str]:
    """What ties the event to this very object, if it exists."""
    from kubernetes import client

    try:
        found = client.CustomObjectsApi(connection).get_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, service, _request_timeout=API_TIMEOUT_S
        )
    except client.ApiException as error:
        if error.status == 404:
            return {}
        raise
    return {"uid": found["metadata"]["uid"]} if "uid" in found["metadata"] else {}

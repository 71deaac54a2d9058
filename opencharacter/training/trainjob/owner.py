"""Who a TrainJob belongs to: the Argo Workflow of the pipeline run whose step creates it."""

import logging
import os
import socket
from typing import Any

from opencharacter.training.trainjob.api import ClusterApi

_log = logging.getLogger(__name__)

_WORKFLOW_LABEL = "workflows.argoproj.io/workflow"


class Owner:
    """The workflow of this pod, or none outside a pipeline run."""

    def __init__(self, api: ClusterApi) -> None:
        """Look the workflow up, through the labels of the pod that this process runs in."""
        self._api = api
        self._workflow = self._find()
        if self._workflow is None:
            _log.warning("no pipeline run owns this training: if this process is killed, delete the TrainJob yourself")

    @property
    def reference(self) -> dict[str, Any] | None:
        """The owner reference: Kubernetes deletes the job after the workflow."""
        if self._workflow is None:
            return None
        metadata = self._workflow["metadata"]
        return {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "name": metadata["name"],
            "uid": metadata["uid"],
        }

    def wants_no_more(self) -> bool:
        """Whether the run was cancelled, now that this process is told to end. An evicted step will be retried."""
        if self._workflow is None:
            return True
        now = self._api.workflow(self._workflow["metadata"]["name"])
        if now is None or now["metadata"].get("deletionTimestamp"):
            return True
        spec = now.get("spec") or {}
        # KFP ends a run by a deadline of 0, Argo by `shutdown`.
        return bool(spec.get("shutdown")) or spec.get("activeDeadlineSeconds") == 0

    def _find(self) -> dict[str, Any] | None:
        pod = self._api.pod(os.environ.get("HOSTNAME") or socket.gethostname())
        name = ((pod or {}).get("metadata", {}).get("labels") or {}).get(_WORKFLOW_LABEL)
        return self._api.workflow(name) if name else None

"""Training in a TrainJob: create or find it, follow it, end as it ends."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from opencharacter.errors import OpenCharacterError
from opencharacter.kube import cluster_client, cluster_namespace
from opencharacter.storage.workspace import Workspace
from opencharacter.tracking import RUN_VARIABLE
from opencharacter.training.job import NodeArguments
from opencharacter.training.trainjob.api import ClusterApi
from opencharacter.training.trainjob.following import POLL_S, follow
from opencharacter.training.trainjob.kept_logs import KeptLogs
from opencharacter.training.trainjob.manifest import SPEC_ANNOTATION, train_job
from opencharacter.training.trainjob.settings import TrainJobSettings
from opencharacter.training.trainjob.status import condition

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

    def was_cancelled(self) -> bool:
        """Whether the run was cancelled, now that this process gets SIGTERM. An evicted step will be retried."""
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


def run_train_job(
    settings: TrainJobSettings,
    task: NodeArguments,
    committed: Callable[[], bool],
    *,
    pause: Callable[[float], None] | None = None,
) -> None:
    """Train in the TrainJob of this output, which an earlier attempt may have created; wait for its end.

    There is no time-out: a job may wait in a queue for days. `committed` says whether the output exists.
    The ends of all nodes' logs are kept in the workspace, below `logs/` and the job's name.

    Raises the error that a worker named, otherwise `OpenCharacterError` with the end of a log, if the job fails;
    `UserError` if the cluster refuses it, or if memory runs out again and again. The job is deleted when this process
    is interrupted, and when it gets SIGTERM because the run was cancelled; an evicted step leaves it to the step's
    next attempt.
    """
    with cluster_client("sft") as connection:
        wait = pause or time.sleep
        _run(ClusterApi(connection, cluster_namespace(), wait), settings, task, committed, wait)


def _run(
    api: ClusterApi,
    settings: TrainJobSettings,
    task: NodeArguments,
    committed: Callable[[], bool],
    pause: Callable[[float], None],
) -> None:
    owner = Owner(api)
    manifest = train_job(settings, task, api.namespace, owner.reference, task_run=os.environ.get(RUN_VARIABLE) or None)
    name = manifest["metadata"]["name"]
    kept = KeptLogs(Workspace(task.workspace), name)
    try:
        with _terminating():
            _ensure(api, manifest, committed, pause)
            follow(api, manifest, settings, kept, pause)
    except KeyboardInterrupt:
        api.delete(name)
        raise
    except SystemExit:
        if owner.was_cancelled():
            api.delete(name)
        raise
    finally:  # after the job is deleted: whoever ends this process gives it half a minute
        kept.save(all_of_it=True)
    _tidy(api, name)


def _tidy(api: ClusterApi, name: str) -> None:
    """The model is in the workspace; the job would only hold its pods' volumes."""
    try:
        api.delete(name)
    except OpenCharacterError as error:
        _log.warning("TrainJob %s/%s is done, but could not be deleted: %s", api.namespace, name, error)


def _ensure(
    api: ClusterApi, manifest: dict[str, Any], committed: Callable[[], bool], pause: Callable[[float], None]
) -> None:
    """Make the job exist: attach to one that still has something to give, replace one that has not."""
    name = manifest["metadata"]["name"]
    while True:
        job = api.get(name)
        if job is None:
            if api.create(manifest):
                _log.warning("TrainJob %s/%s created", api.namespace, name)
                return
        elif job["metadata"].get("deletionTimestamp"):
            pause(POLL_S)
        elif reason := _useless(job, manifest, committed):
            _log.warning("TrainJob %s/%s %s: it is replaced", api.namespace, name, reason)
            api.delete(name)
        else:
            _log.warning("attached to TrainJob %s/%s, which is there already", api.namespace, name)
            return


def _useless(job: dict[str, Any], manifest: dict[str, Any], committed: Callable[[], bool]) -> str | None:
    if condition(job, "Failed"):
        return "failed in an earlier attempt"
    if condition(job, "Complete"):
        return None if committed() else "ended, but its model is not in the workspace"
    asked = manifest["metadata"]["annotations"][SPEC_ANNOTATION]
    if (job["metadata"].get("annotations") or {}).get(SPEC_ANNOTATION) != asked:
        return "was made with other settings"
    return None


@contextmanager
def _terminating() -> Iterator[None]:
    """SIGTERM as an exception, so that what must be done at the end is done."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

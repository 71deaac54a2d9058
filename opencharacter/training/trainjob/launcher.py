"""Training in a TrainJob: create or find it, follow it, end as it ends."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from opencharacter.engines.cluster import cluster_client, cluster_namespace
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.training.job import NodeArguments
from opencharacter.training.trainjob import pods as reading
from opencharacter.training.trainjob.api import ClusterApi
from opencharacter.training.trainjob.logs import PodLog
from opencharacter.training.trainjob.manifest import SPEC_ANNOTATION, train_job
from opencharacter.training.trainjob.owner import Owner
from opencharacter.training.trainjob.settings import TrainJobSettings
from opencharacter.training.watching import Watcher, named_failure

_log = logging.getLogger(__name__)

POLL_S = 5.0
"""Between two looks at a job that says nothing."""
_TAIL_LINES = 200


def run_train_job(
    settings: TrainJobSettings,
    task: NodeArguments,
    committed: Callable[[], bool],
    *,
    pause: Callable[[float], None] | None = None,
) -> None:
    """Train in the TrainJob of this output, which an earlier attempt may have created; wait for its end.

    There is no time-out: a job may wait in a queue for days. `committed` says whether the output exists.
    Raises the error that a worker named, otherwise `OpenCharacterError` with the end of the log, if the job fails;
    `UserError` if the cluster refuses it. The job is deleted when this process is interrupted, and when it is told to
    end because the run was cancelled; an evicted step leaves it to the step's next attempt.
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
    manifest = train_job(settings, task, api.namespace, owner.reference)
    name = manifest["metadata"]["name"]
    try:
        with _terminating():
            _ensure(api, manifest, committed, pause)
            _follow(api, name, pause)
    except KeyboardInterrupt:
        api.delete(name)
        raise
    except SystemExit:
        if owner.wants_no_more():
            api.delete(name)
        raise
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
    if _condition(job, "Failed"):
        return "failed in an earlier attempt"
    if _condition(job, "Complete"):
        return None if committed() else "ended, but its model is not in the workspace"
    asked = manifest["metadata"]["annotations"][SPEC_ANNOTATION]
    if (job["metadata"].get("annotations") or {}).get(SPEC_ANNOTATION) != asked:
        return "was made with other settings"
    return None


def _follow(api: ClusterApi, name: str, pause: Callable[[float], None]) -> None:
    """Show the job's progress until it ends."""
    logs: dict[tuple[str, int], PodLog] = {}
    told: str | None = None
    with Watcher() as watcher:
        while True:
            job = api.get(name)
            if job is None:
                raise OpenCharacterError(
                    f"TrainJob {api.namespace}/{name} was deleted while it ran",
                    hint="run the step again: training goes on from the last stored checkpoint",
                )
            if _condition(job, "Complete"):
                return
            pods = api.pods(name)
            if failed := _condition(job, "Failed"):
                raise _failure(api, name, failed, pods, watcher)
            first = reading.first_node(pods)
            if first and reading.has_begun(first):
                told = None
                run = reading.run_of(first)
                if run not in logs:
                    watcher.failure = None  # of a run that Kubernetes has started again
                    logs[run] = PodLog(_opener(api, first["metadata"]["name"]))
                fresh = False
                for line in logs[run].read():
                    watcher.feed(line)
                    fresh = True
                if watcher.failure and watcher.failure.exit_code == UserError.exit_code:
                    # It would fail in the same way as often as the runtime's back-off limit allows.
                    api.delete(name)
                    raise named_failure(watcher.failure)
                if fresh:
                    continue
            elif (state := _waiting(job, pods)) != told:
                _log.warning("TrainJob %s/%s: %s", api.namespace, name, state)
                told = state
            pause(POLL_S)


def _opener(api: ClusterApi, pod: str) -> Callable[[int | None], Iterator[bytes]]:
    return lambda since_s: api.log(pod, follow=True, since_s=since_s)


def _waiting(job: dict[str, Any], pods: list[dict[str, Any]]) -> str:
    if (job.get("spec") or {}).get("suspend") or _condition(job, "Suspended"):
        queue = (job["metadata"].get("labels") or {}).get("kueue.x-k8s.io/queue-name")
        return f"waits in queue {queue}" if queue else "is suspended"
    return reading.holdup(pods) or "waits for its pods"


def _condition(job: dict[str, Any], kind: str) -> dict[str, Any] | None:
    conditions = (job.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def _failure(
    api: ClusterApi, name: str, condition: dict[str, Any], pods: list[dict[str, Any]], watcher: Watcher
) -> OpenCharacterError:
    """The failed job in the best words there are: a worker's own, what ended its pods, the end of its log."""
    seen = [watcher, *(_last_words(api, pod) for pod in pods)]
    # A mistake of the user's explains the broken connections that the other nodes complain of.
    failures = sorted((each.failure for each in seen if each.failure), key=lambda failure: -failure.exit_code)
    ends = "".join(f"\n  {end}" for end in reading.ends(pods))
    if failures:
        error = named_failure(failures[0])
        return type(error)(f"{error}{ends}", hint=error.hint)
    cause = ": ".join(filter(None, [condition.get("reason"), condition.get("message")]))
    tail = next((each.tail for each in seen if each.tail), "").rstrip()
    return OpenCharacterError(
        f"TrainJob {api.namespace}/{name} failed: {cause}{ends}\nthe end of its log:\n{tail}",
        hint="run again: training goes on from the last stored checkpoint",
    )


def _last_words(api: ClusterApi, pod: dict[str, Any]) -> Watcher:
    watcher = Watcher(show=False)
    log = PodLog(lambda _: api.log(pod["metadata"]["name"], follow=False, tail=_TAIL_LINES))
    for line in log.read():
        watcher.feed(line)
    return watcher


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

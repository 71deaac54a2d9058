"""Training over two pods: a TrainJob that is queued, loses a pod, and goes with its run."""

import subprocess
import time

import pytest
from support.acceptance import store
from support.acceptance.capabilities import require_kueue, require_trainer
from support.acceptance.kube import PODS, TRAINJOBS, WORKFLOWS
from support.acceptance.queues import Queue
from support.acceptance.releases import Release
from support.acceptance.suite import Suite
from support.acceptance.training import STEPS, Training, complete_checkpoints, start

from opencharacter.storage import Workspace

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")

_AWAY_S = 70.0


@pytest.fixture(scope="module")
def training(
    suite: Suite,
    release: Release,
    queue: Queue | None,
    settings: list[str],
    workspace: str,
    models_before: set[str],
    queued_training: Training | None,
) -> Training:
    """Two pods, a checkpoint after each step. In a queue it has waited for a while already."""
    require_trainer(suite.kube)
    assert models_before, "the long run has trained no model, so what comes before sft is not in the cache"
    # Room for two trainings: the server of the champion is not asked any more.
    suite.release_service()
    return queued_training or start(suite, release, queue, settings, workspace, f"sft.max_steps={STEPS}")


@pytest.fixture(scope="module")
def doomed(
    suite: Suite,
    release: Release,
    queue: Queue | None,
    settings: list[str],
    workspace: str,
    training: Training,
    queued_doomed: Training | None,
) -> Training:
    """A training that would take long, and does not come to its end; the queue has no room for it before."""
    training.run.until_step_ended("sft", seconds=600)
    suite.terminate(training.run)
    if queue:
        queue.let()
    return queued_doomed or start(suite, release, queue, settings, workspace, "sft.max_steps=500")


def test_queued_trainjob(suite: Suite, training: Training, queue: Queue | None) -> None:
    """A queued TrainJob waits for Kueue, is admitted, and starts."""
    if queue is None:
        pytest.skip("no Kueue: the cluster serves no localqueues")
    require_kueue(suite.kube, "trainer.kubeflow.org/trainjob")
    try:
        job = training.until_job()
        suite.deadline.until("Kueue has a Workload for it", lambda: queue.workloads_of(job), seconds=60)
        assert not queue.is_admitted(job)
        assert not training.running()
    finally:
        queue.let()
    suite.deadline.until("Kueue admits it", lambda: queue.is_admitted(job), seconds=60)
    training.until_two_run()


def test_lost_training_pod(
    suite: Suite, training: Training, queue: Queue | None, workspace: str, models_before: set[str]
) -> None:
    """A training pod is deleted: both start again, go on from the last checkpoint, and come to the end."""
    if queue:
        queue.let()
    before = training.until_two_run()
    key = training.until_job()["metadata"]["name"].rpartition("-")[2]

    def checkpoints() -> set[int]:
        names = store.names_below(f"{workspace}/checkpoints", suite.local_s3)
        return complete_checkpoints(names, key, nodes=2)

    suite.deadline.until(
        "a checkpoint of both nodes is whole in the bucket",
        checkpoints,
        seconds=420,
        state=training.state,
        give_up=training.run.failed,
    )
    [victim] = [pod for pod in training.pods() if pod["metadata"]["uid"] == before["1"][0]]
    assert suite.kube.delete(f"{PODS.format(suite.namespace)}/{victim['metadata']['name']}")

    def both_again() -> bool:
        now = training.running()
        return len(now) == 2 and all(now[index] != before[index] for index in before)

    suite.deadline.until(
        "both pods have started again", both_again, seconds=300, state=training.state, give_up=training.run.failed
    )
    training.run.until_step_ended("sft", seconds=600)
    new = [ref for ref in Workspace(workspace).list("model") if ref.key not in models_before]
    [model] = [ref for ref in new if ref.stats["steps"] == STEPS]
    assert model.stats["world_size"] == 2, model.stats
    assert model.stats["resumed_from_step"] >= 1, model.stats


def test_api_away(suite: Suite, doomed: Training) -> None:
    """With the Kubernetes API away for 70 s, training and the step that waits for it go on."""
    settings = suite.settings
    if settings.api_down is None or settings.api_up is None:
        pytest.skip(
            "no cluster lets its API be taken away through the API: set OPENCHARACTER_CLUSTER_API_DOWN and _API_UP"
        )
    doomed.until_two_run()
    pod = doomed.run.until_step_runs("sft", seconds=60)
    job = doomed.until_job()
    subprocess.run(settings.api_down, shell=True, check=True, timeout=120)
    since = time.monotonic()
    try:
        away: list[float] = []

        def long_enough() -> bool:
            if not suite.kube.responds():
                away.append(time.monotonic())
            return time.monotonic() - (away[0] if away else since) > _AWAY_S

        suite.deadline.until("the API has been away for a while", long_enough, seconds=180)
        assert away, f"the API answers all the time although this was run: {settings.api_down}"
    finally:
        subprocess.run(settings.api_up, shell=True, check=True, timeout=120)
    suite.deadline.until("the API answers again", suite.kube.responds, seconds=240)
    again = doomed.run.until_step_runs("sft", seconds=120)
    assert again["metadata"]["uid"] == pod["metadata"]["uid"], "the step was started again"
    assert (doomed.job() or {}).get("metadata", {}).get("uid") == job["metadata"]["uid"], "another TrainJob"
    doomed.until_two_run()


def test_workflow_takes_its_trainjob_along(suite: Suite, doomed: Training) -> None:
    """Deleting the workflow deletes its TrainJob."""
    job = doomed.until_job()
    workflow = doomed.run.workflow
    assert workflow is not None
    suite.kube.delete(f"{WORKFLOWS.format(suite.namespace)}/{workflow['metadata']['name']}")
    path = f"{TRAINJOBS.format(suite.namespace)}/{job['metadata']['name']}"
    suite.deadline.until("the TrainJob is gone", lambda: suite.kube.get(path) is None, seconds=180)

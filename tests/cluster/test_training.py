"""Training over two pods: a TrainJob that is queued, loses a pod, and goes with its run."""

import subprocess
import time

import pytest
from support.acceptance import store
from support.acceptance.capabilities import require_kueue, require_trainer
from support.acceptance.kube import PODS, TRAINJOBS, WORKFLOWS, Object, conditions
from support.acceptance.queues import Queue
from support.acceptance.recipe import cluster_file
from support.acceptance.releases import MLFLOW, Release
from support.acceptance.suite import Run, Suite

from opencharacter.storage import Workspace

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")

_STEPS = 6
_AWAY_S = 70.0
_INDEX = "batch.kubernetes.io/job-completion-index"


class Training:
    """A run whose sft step trains in a TrainJob; what comes before it is in KFP's cache."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.suite = run.suite

    def job(self) -> Object | None:
        """The TrainJob that the run's Workflow owns."""
        workflow = self.run.workflow
        if workflow is None:
            return None
        uid = workflow["metadata"]["uid"]
        for job in self.suite.kube.find(TRAINJOBS.format(self.suite.namespace)):
            if uid in {owner["uid"] for owner in job["metadata"].get("ownerReferences") or []}:
                return job
        return None

    def until_job(self) -> Object:
        """Waits for it."""
        found = self.suite.deadline.until(
            f"run {self.run.id} makes its TrainJob",
            self.job,
            seconds=480,
            state=self.run.state,
            give_up=self.run.failed,
        )
        assert found is not None
        return found

    def pods(self) -> list[Object]:
        """The job's pods that are not about to go, by index."""
        job = self.job()
        if job is None:
            return []
        label = f"jobset.sigs.k8s.io/jobset-name={job['metadata']['name']}"
        pods = self.suite.kube.find(PODS.format(self.suite.namespace), labels=label)
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        self.suite.saw(alive)
        return sorted(alive, key=lambda pod: (pod["metadata"].get("labels") or {}).get(_INDEX, ""))

    def running(self) -> dict[str, tuple[str, int]]:
        """By index: which container of which pod runs."""
        found = {}
        for pod in self.pods():
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if status["name"] == "node" and (status.get("state") or {}).get("running"):
                    index = (pod["metadata"].get("labels") or {}).get(_INDEX, "")
                    found[index] = (pod["metadata"]["uid"], int(status.get("restartCount", 0)))
        return found

    def state(self) -> str:
        """In a line."""
        phases = [f"{pod['metadata']['name']}: {(pod.get('status') or {}).get('phase')}" for pod in self.pods()]
        return f"{conditions(self.job())}; {'; '.join(phases) or 'no pods'}; {self.run.state()}"

    def until_two_run(self) -> dict[str, tuple[str, int]]:
        """Waits until both pods run."""
        self.suite.deadline.until(
            "both pods of the TrainJob run",
            lambda: len(self.running()) == 2,
            seconds=300,
            state=self.state,
            give_up=self.run.failed,
        )
        return self.running()


def start(
    suite: Suite, release: Release, queue: Queue | None, settings: list[str], workspace: str, *changes: str
) -> Training:
    """Submit the long run again, with another sft step."""
    step: dict[str, object] = {"nodes": 2, "cpu": "500m", "memory": "7Gi", "shm": "256Mi"}
    if queue:
        step["queue"] = queue.name
    file = cluster_file(
        suite, "trainjob", mlflow=MLFLOW, secret=release.secret, endpoint=suite.pod_s3, steps={"sft": step}
    )
    more = ("sft.save_steps=1", "sft.global_batch_size=2", "deploy.apply=false", *changes)
    return Training(suite.submit(file, *settings, *more, workspace=workspace))


@pytest.fixture(scope="module")
def models_before(first_run: Run, workspace: str) -> set[str]:
    """Keys of the models in the workspace, once the long run is over."""
    first_run.until_over(seconds=1200)
    return {ref.key for ref in Workspace(workspace).list("model")}


@pytest.fixture(scope="module")
def training(
    suite: Suite, release: Release, queue: Queue | None, settings: list[str], workspace: str, models_before: set[str]
) -> Training:
    """Two pods, a checkpoint after each step; queued where there is Kueue, in a queue that holds."""
    require_trainer(suite.kube)
    assert models_before, "the long run has trained no model, so what comes before sft is not in the cache"
    # Room for two trainings: the server of the champion is not asked any more.
    suite.release_service()
    if queue:
        queue.hold()
    return start(suite, release, queue, settings, workspace, f"sft.max_steps={_STEPS}")


@pytest.fixture(scope="module")
def doomed(
    suite: Suite, release: Release, queue: Queue | None, settings: list[str], workspace: str, training: Training
) -> Training:
    """A training that would take long, and does not come to its end."""
    training.run.until_step_ended("sft", seconds=600)
    suite.terminate(training.run)
    if queue:
        queue.let()
    return start(suite, release, queue, settings, workspace, "sft.max_steps=500")


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

    def checkpoints() -> list[str]:
        return [name for name in store.names_below(f"{workspace}/checkpoints", suite.local_s3) if "checkpoint-" in name]

    suite.deadline.until(
        "a checkpoint is in the bucket", checkpoints, seconds=420, state=training.state, give_up=training.run.failed
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
    [model] = [ref for ref in new if ref.stats["steps"] == _STEPS]
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
        suite.deadline.until("the API is away", lambda: time.monotonic() - since > _AWAY_S, seconds=120)
    finally:
        subprocess.run(settings.api_up, shell=True, check=True, timeout=120)
    suite.deadline.until("the API answers again", suite.answers, seconds=240)
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

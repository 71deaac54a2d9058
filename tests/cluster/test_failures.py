"""What fails, is killed, or is away while a run goes on: one run is interrupted again and again, and ends well."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.acceptance import objects, workflows
from support.acceptance.capabilities import require_kueue, require_storage_class
from support.acceptance.kube import CLAIMS, DEPLOYMENTS, PODS, SERVICES, Object
from support.acceptance.logs import progress_of
from support.acceptance.queues import Queue
from support.acceptance.recipe import cluster_file
from support.acceptance.releases import MLFLOW, Release
from support.acceptance.store import names_below
from support.acceptance.suite import Run, Suite

from opencharacter.records.models import DialogueRow
from opencharacter.storage import Workspace
from opencharacter.storage.jsonl import read_models

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")

_AWAY_S = 60.0
_KILL = """
import os, pathlib, signal
for process in pathlib.Path("/proc").iterdir():
    try:
        words = (process / "cmdline").read_bytes().split(b"\\0") if process.name.isdigit() else []
    except OSError:
        continue
    if words and b"python" in words[0] and b"kfp.dsl.executor_main" in words:
        os.kill(int(process.name), signal.SIGKILL)
        print("killed", process.name)
"""
"""Kills the step's own process, and not KFP's launcher above it: what the kernel does where memory is out."""


class Store:
    """The object store as the interrupted run reaches it: through a proxy of ours, where that can be."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._path = f"{DEPLOYMENTS.format(suite.namespace)}/{suite.id}-store"
        self.endpoint = suite.pod_s3
        self.lack: str | None = None
        if suite.pod_s3 is None or suite.pod_s3.startswith("https://"):
            self.lack = "the object store is asked over TLS, so no proxy of ours can stand before it"
            return
        parts = objects.proxy(f"{suite.id}-store", suite.pod_s3, suite.image("tools"), suite.settings.pull_policy)
        for path, part in zip((DEPLOYMENTS, SERVICES), parts, strict=True):
            suite.ledger.create(path.format(suite.namespace), part)
        suite.until_available(suite.namespace, f"{suite.id}-store", seconds=180)
        self.endpoint = f"http://{suite.id}-store.{suite.namespace}:{objects.STORE_PORT}"

    def scale(self, replicas: int) -> None:
        """Take the store away (0), or bring it back (1)."""
        self._suite.kube.merge(self._path, {"spec": {"replicas": replicas}})
        if replicas:
            self._suite.until_available(self._suite.namespace, f"{self._suite.id}-store", seconds=120)
            return
        selector = f"app={self._suite.id}-store"
        self._suite.deadline.until(
            "the proxy before the store is gone",
            lambda: not self._suite.kube.find(PODS.format(self._suite.namespace), labels=selector),
            seconds=60,
        )


class Interrupted:
    """The run that is interrupted, and the submission that goes on with it where its steps are not tried again."""

    def __init__(self, suite: Suite, submit: Callable[[], Run], workspace: str) -> None:
        self.suite = suite
        self._submit = submit
        self.workspace = workspace
        self.again = 2
        self.run = submit()

    def goes_on(self, step: str, before: int) -> str:
        """Waits for the step's next attempt, or for the run's end and then submits again; says which it was."""
        run = self.run
        happened = self.suite.deadline.until(
            f"after the interruption of {step}: another attempt, or the end of run {run.id}",
            lambda: "retried" if len(run.attempts(step)) > before else "failed" if run.failed() else "",
            seconds=300,
            state=run.state,
        )
        if happened == "failed":
            self.run = self._submit()
        return happened

    def until_rows(self, step: str, more_than: int) -> Object:
        """Waits until a pod of the step runs and more rows are durable than so many objects say."""
        pod = self.run.until_step_runs(step, seconds=420)
        self.suite.deadline.until(
            f"rows of {step} are in the bucket",
            lambda: len(self.journal(step)) > more_than,
            seconds=300,
            state=lambda: f"{len(self.journal(step))} objects; {self.run.state()}",
            give_up=self.run.failed,
        )
        return pod

    def journal(self, step: str) -> list[str]:
        """The objects that hold a step's rows so far."""
        names = names_below(f"{self.workspace}/rows/{step}/journal", self.suite.local_s3)
        return [name for name in names if ".log/" in name]

    def until_ended(self, step: str) -> None:
        """Waits for the end of a step; where the run fails first, it is submitted again, as a user would."""
        while True:
            try:
                self.run.until_step_ended(step, seconds=480)
                return
            except AssertionError:
                if self.again == 0 or not self.run.failed():
                    raise
            self.again -= 1
            self.run = self._submit()


@pytest.fixture(scope="module")
def store(suite: Suite, release: Release) -> Store:
    """The proxy."""
    return Store(suite)


@pytest.fixture(scope="module")
def interrupted(suite: Suite, release: Release, store: Store, queue: Queue | None, settings: list[str]) -> Interrupted:
    """The run: one shard, more rows than the long run has, so that there is something to interrupt."""
    synthesis: dict[str, object] = {"retries": {"count": 2, "backoff": "5s", "factor": 1}}
    waiting = dict(synthesis) | ({"queue": queue.name} if queue else {}) | _scratch(suite)
    file = cluster_file(
        suite,
        "interrupted",
        mlflow=MLFLOW,
        secret=release.secret,
        endpoint=store.endpoint,
        steps={"generate-profiles": waiting, "generate-dialogues": synthesis},
        scratch_storage_class=suite.settings.storage_class,
    )
    workspace = f"{suite.prefix}/interrupted"
    more = ["shards=1", "inputs.personas.0.limit=24", "inputs.corpora.0.n=2"]
    return Interrupted(suite, lambda: suite.submit(file, *settings, *more, workspace=workspace), workspace)


def _scratch(suite: Suite) -> dict[str, object]:
    try:
        require_storage_class(suite.kube, suite.settings.storage_class)
    except pytest.skip.Exception:
        return {}
    return {"scratch": "2Gi"}


def test_failing_step(suite: Suite, cluster: Path, settings: list[str], workspace: str) -> None:
    """A step that fails is tried again as preflight has said, and watch names its own error."""
    wrong = f"inputs.personas.0.uri={suite.prefix}/absent.jsonl"
    run = suite.submit(cluster, *settings, wrong, workspace=f"{workspace}-failing")
    assert run.until_over(seconds=300) == "Failed"
    rules = suite.retry_rules()
    if not rules.repeats:
        count = len(run.attempts("ingest"))
        assert count == (2 if rules.failed else 1), f"{count} attempts, by {rules}"
    words = ("pipeline", "watch", run.id, "--host", str(suite.kfp_host), "--namespace", suite.namespace)
    watched = suite.opencharacter(*words).expect(1)
    assert "absent.jsonl" in watched.said, watched.said
    assert "ingest" in watched.said, watched.said


def test_pod_waits_in_queue(interrupted: Interrupted, queue: Queue | None) -> None:
    """A step's pod waits in Kueue's queue, and starts when it is admitted."""
    if queue is None:
        pytest.skip("no Kueue: the cluster serves no localqueues")
    suite = interrupted.suite
    require_kueue(suite.kube, "pod")
    try:
        [pod] = suite.deadline.until(
            "the pod of profiles is there",
            lambda: interrupted.run.pods("generate-profiles"),
            seconds=240,
            state=interrupted.run.state,
            give_up=interrupted.run.failed,
        )
        gates = {each["name"] for each in pod["spec"].get("schedulingGates") or []}
        assert objects.GATE in gates, f"the pod waits for nothing: {gates}"
        suite.deadline.until("Kueue has a Workload for it", lambda: queue.workloads_of(pod), seconds=60)
        assert not queue.is_admitted(pod)
    finally:
        queue.let()
    suite.deadline.until("Kueue admits it", lambda: queue.is_admitted(pod), seconds=60)


@pytest.fixture
def admitted(interrupted: Interrupted, queue: Queue | None) -> Interrupted:
    """The run, whatever has become of the queue's own test."""
    if queue:
        queue.let()
    return interrupted


def test_scratch_volume(suite: Suite, admitted: Interrupted) -> None:
    """A step writes to a scratch volume of its storage class."""
    require_storage_class(suite.kube, suite.settings.storage_class)
    pod = admitted.run.until_step_runs("generate-profiles", seconds=420)
    claim = suite.kube.get(f"{CLAIMS.format(suite.namespace)}/{pod['metadata']['name']}-scratch")
    assert claim, "the pod has no claim of its own"
    assert claim["status"]["phase"] == "Bound", claim["status"]


def test_killed_step(suite: Suite, admitted: Interrupted) -> None:
    """A step killed by SIGKILL goes on where it was: retried, or by submitting again."""
    pod = admitted.until_rows("generate-profiles", 0)
    before = len(admitted.run.attempts("generate-profiles"))
    name = pod["metadata"]["name"]
    words = ("exec", "--namespace", suite.namespace, name, "--container", workflows.MAIN, "--", "python3", "-c", _KILL)
    assert "killed" in suite.kubectl(*words).expect().out
    _as_predicted(admitted.goes_on("generate-profiles", before), suite.retry_rules().failed)
    again = admitted.run.until_step_runs("generate-profiles", seconds=420)
    assert again["metadata"]["name"] != name
    admitted.run.until_step_ended("generate-profiles", seconds=420)
    done = [line["done"] for line in progress_of(admitted.run.log(again), "profiles")]
    assert done, "the attempt after the kill has shown no progress"
    assert done[0] > 0, "the attempt after the kill has begun from nothing"


def test_lost_pod(suite: Suite, admitted: Interrupted) -> None:
    """A step whose pod is deleted goes on where it was: retried, or by submitting again."""
    pod = admitted.until_rows("generate-dialogues", 0)
    before = len(admitted.run.attempts("generate-dialogues"))
    assert suite.kube.delete(f"{PODS.format(suite.namespace)}/{pod['metadata']['name']}")
    _as_predicted(admitted.goes_on("generate-dialogues", before), suite.retry_rules().lost)
    again = admitted.run.until_step_runs("generate-dialogues", seconds=420)
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]


def test_store_away(suite: Suite, admitted: Interrupted, store: Store) -> None:
    """With the object store away for a minute, a step waits or ends with one clear error; the run goes on after it."""
    if store.lack:
        pytest.skip(store.lack)
    pod = admitted.run.until_step_runs("generate-dialogues", seconds=420)
    before, run = admitted.run.attempts("generate-dialogues"), admitted.run
    store.scale(0)
    since = time.monotonic()
    try:
        suite.deadline.until("the store is away for a minute", lambda: time.monotonic() - since > _AWAY_S, seconds=90)
    finally:
        store.scale(1)
    admitted.until_ended("generate-dialogues")
    [node] = [
        each for each in run.attempts("generate-dialogues") if each.get("startedAt") == before[-1].get("startedAt")
    ]
    log = run.log(pod)
    errors = [line for line in log.splitlines() if line.startswith("error: ")]
    if node["phase"] == "Succeeded":
        assert not errors, "\n".join(errors)
        return
    assert len(errors) == 1, f"the step has ended with {len(errors)} errors of ours:\n{log[-2000:]}"
    assert f"{suite.id}-store" in errors[0], errors[0]


def test_no_row_twice(suite: Suite, admitted: Interrupted) -> None:
    """After a kill, a lost pod and an absent store no row is there twice, and none is missing."""
    admitted.until_ended("collect-dialogues")
    suite.terminate(admitted.run)
    place = Workspace(admitted.workspace)
    [characters], [dialogues] = place.list("characters"), place.list("dialogues")
    assert characters.counts["ok"] + characters.counts["rejected"] == 24, characters.counts
    rows = [row.row_id for row in read_models(dialogues.file("dialogues.jsonl.zst"), DialogueRow)]
    assert len(rows) == len(set(rows)) == dialogues.counts["ok"]


def _as_predicted(happened: str, tried_again: bool) -> None:
    """Whether the cluster did what its controller's ConfigMap, as preflight reads it, let expect."""
    assert happened == ("retried" if tried_again else "failed"), f"the step {happened}"

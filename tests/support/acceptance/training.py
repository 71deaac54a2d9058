"""A run whose sft step trains in a TrainJob of two pods."""

import re
from collections.abc import Iterable

from support.acceptance.kube import PODS, TRAINJOBS, Object, conditions
from support.acceptance.queues import Queue
from support.acceptance.recipe import cluster_file
from support.acceptance.releases import MLFLOW, Release
from support.acceptance.suite import Run, Suite

STEPS = 8
"""Optimiser steps of the training that comes to its end, a checkpoint after each."""

_MARK = re.compile(r"(?P<part>[^/]+)/checkpoint-(?P<step>\d+)\.complete\.json")
"""The object that is written once all of a node's part of a checkpoint is in the store."""

INDEX = "batch.kubernetes.io/job-completion-index"


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
        return sorted(alive, key=lambda pod: (pod["metadata"].get("labels") or {}).get(INDEX, ""))

    def running(self) -> dict[str, tuple[str, int]]:
        """By index: which container of which pod runs."""
        found = {}
        for pod in self.pods():
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                if status["name"] == "node" and (status.get("state") or {}).get("running"):
                    index = (pod["metadata"].get("labels") or {}).get(INDEX, "")
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


def complete_checkpoints(names: Iterable[str], key: str, *, nodes: int) -> set[int]:
    """The steps of whose checkpoints every node's part is whole, of the training whose output's key begins so.

    `names` are those below `checkpoints/` of the workspace. A pod that is lost earlier begins with the first step.
    """
    parts: dict[int, set[str]] = {}
    for found in filter(None, map(_MARK.fullmatch, names)):
        if found["part"].startswith(key):
            parts.setdefault(int(found["step"]), set()).add(found["part"])
    return {step for step, of in parts.items() if len(of) == nodes}

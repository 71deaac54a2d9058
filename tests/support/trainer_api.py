"""A stand-in of a cluster with Kubeflow Trainer, for there is none in the tests: it speaks the Kubernetes REST API.

Nothing trains in it: a test moves jobs and pods on, from `TrainerCluster.pause`, which the code under test calls where
it would wait. No time passes.
"""

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support import kueue, stand_in

NAMESPACE = "team"
OWN_POD, WORKFLOW = "run-1-sft", "run-1"

_JOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events"
_WORKFLOWS = f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows"


class TrainerCluster:
    """One namespace: its TrainJobs and their pods and logs, and the workflow of the run that the tests play."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        """The run's workspace."""
        self.installed = True
        self.queues = False
        """Whether Kueue is there: jobs with a queue are then suspended until `admit`."""
        self.job_set_refuses: str | None = None
        self.trainer = "2.3"
        """The release of Trainer whose API is served."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.created: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.workflows: dict[str, dict[str, Any]] = {
            WORKFLOW: {"metadata": {"name": WORKFLOW, "uid": "workflow-uid"}, "spec": {}}
        }
        labels = {"workflows.argoproj.io/workflow": WORKFLOW}
        self.own_pods: dict[str, dict[str, Any]] = {OWN_POD: {"metadata": {"name": OWN_POD, "labels": labels}}}
        self.pods: list[dict[str, Any]] = []
        self.logs: dict[str, list[str]] = {}
        """By pod: lines as the kubelet stores them, each after its time."""
        self.previous_logs: dict[str, list[str]] = {}
        """By pod: those of the run of its container before the last one."""
        self.events: list[dict[str, Any]] = []
        self.cuts: list[int] = []
        """After how many bytes the next log streams break, in order; the others end by themselves."""
        self.refusals: list[tuple[str, str, int, dict[str, Any] | None]] = []
        """Method, part of the path, status and body of the answers to come; status 0 closes the connection."""
        self._printed = 0
        self.script: list[Callable[[], object]] = []
        """What happens in the cluster each time the code under test waits."""
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        """Stands for `time.sleep`: the next thing of the script happens."""
        self.pauses.append(seconds)
        if not self.script:
            pytest.fail("the code under test waits for something that will not happen")
        self.script.pop(0)()

    def job(self) -> dict[str, Any]:
        """The one job."""
        (job,) = self.jobs.values()
        return job

    def admit(self) -> None:
        """Let Kueue admit the job, as it does: it writes the whole object."""
        self.job_set_refuses = kueue.admit(self.job())
        if self.job_set_refuses:  # Trainer tries again for ever, and tells of it in an event only
            self.warn(f"TrainJob resources reconciliation failed: {self.job_set_refuses}")

    def warn(self, message: str, *, of_the_nodes: bool = False) -> None:
        """Let a controller write an event about the TrainJob, or about the Job of its nodes."""
        name = self.job()["metadata"]["name"] + ("-node-0" if of_the_nodes else "")
        about = {"type": "Warning", "involvedObject": {"kind": "TrainJob", "name": name}, "message": message}
        self.events.append(about | {"metadata": {}, "lastTimestamp": f"2026-01-01T00:00:{len(self.events):02d}Z"})

    def start(self, *lines: str, index: int = 0, pod: str | None = None, machine: str = "worker-1") -> None:
        """Let a pod of the job run on a machine, and print."""
        if self.job_set_refuses:
            pytest.fail(f"no pod can start: {self.job_set_refuses}")
        if self.queues and self.job()["spec"].get("suspend"):
            pytest.fail("no pod can start: the job is suspended")
        name = pod or f"{self.job()['metadata']['name']}-node-0-{index}"
        self.pods.append(
            {
                "metadata": {
                    "name": name,
                    "uid": f"uid-{name}",
                    "creationTimestamp": f"2026-01-01T00:00:{len(self.pods):02d}Z",
                    "labels": {"batch.kubernetes.io/job-completion-index": str(index)},
                },
                "spec": {"nodeName": machine},
                "status": {"containerStatuses": [{"name": "node", "restartCount": 0, "state": {"running": {}}}]},
            }
        )
        self.logs[name] = []
        self.say(*lines, pod=name)

    def say(self, *lines: str, pod: str | None = None) -> None:
        """Let a pod print more; the first one, if none is named."""
        log = self.logs[pod or self.pods[0]["metadata"]["name"]]
        for line in lines:
            self._printed += 1
            log.append(f"2026-01-01T00:00:00.{self._printed:09d}Z {line}")

    def finish(self, kind: str = "Complete", **words: str) -> None:
        """Give the job its last condition."""
        self.job()["status"] = {"conditions": [{"type": kind, "status": "True", **words}]}

    def end_container(self, index: int, **terminated: Any) -> None:
        """Let the container of a node end."""
        self._container(index)["state"] = {"terminated": terminated}

    def restart(self, index: int, *lines: str, **terminated: Any) -> None:
        """Let the container of a node end, and the kubelet start it again in the same pod, with a new log."""
        container, name = self._container(index), self.pods[index]["metadata"]["name"]
        container |= {"restartCount": container["restartCount"] + 1, "state": {"running": {}}}
        container["lastState"] = {"terminated": terminated}
        self.previous_logs[name], self.logs[name] = self.logs[name], []
        self.say(*lines, pod=name)

    def back_off(self, index: int, **terminated: Any) -> None:
        """Let the container of a node end, and the kubelet wait before it starts it again."""
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
        self._container(index).update({"state": {"waiting": waiting}, "lastState": {"terminated": terminated}})

    def fail(self, message: str = "jobset failed due to one or more job failures") -> None:
        """Let the job be over its back-off limit: its pods are deleted, and their logs with them."""
        self.pods.clear()
        self.logs.clear()
        self.previous_logs.clear()
        self.finish("Failed", reason="FailedJobs", message=message)

    def _container(self, index: int) -> dict[str, Any]:
        container: dict[str, Any] = self.pods[index]["status"]["containerStatuses"][0]
        return container


_SPEC = {
    "2.1": ["runtimeRef", "initializer", "trainer", "labels", "annotations", "podTemplateOverrides", "suspend"],
    "2.3": list(kueue.TRAINER_2_2["spec"]),
}
"""What TrainJobs hold in releases of Trainer."""


def _status(code: int, message: str, **details: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, "details": details}


def _handler(cluster: TrainerCluster) -> type[stand_in.Handler]:
    class Handler(stand_in.Handler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self._refused("GET"):
                return
            if found := re.fullmatch(f"{_PODS}/([^/]+)/log", url.path):
                self._log(found.group(1), parse_qs(url.query))
            elif url.path == _PODS:
                self.answer(200, {"kind": "PodList", "items": cluster.pods})
            elif url.path == _EVENTS:
                (selector,) = parse_qs(url.query)["fieldSelector"]
                name = dict(part.split("=") for part in selector.split(","))["involvedObject.name"]
                found = [event for event in cluster.events if event["involvedObject"]["name"] == name]
                self.answer(200, {"kind": "EventList", "items": found})
            else:
                self._object(url.path)

        def do_POST(self) -> None:
            body = self.body()
            if self._refused("POST"):
                return
            if not cluster.installed:
                self.text(404, "404 page not found\n")
            elif (name := body["metadata"]["name"]) in cluster.jobs:
                self.answer(409, _status(409, f"{name} already exists", name=name))
            elif unknown := [field for field in body["spec"] if field not in _SPEC[cluster.trainer]]:
                # Without fieldValidation=Strict the server drops it, and says so in a header that nobody reads.
                if parse_qs(urlsplit(self.path).query).get("fieldValidation") != ["Strict"]:
                    pytest.fail(f"the server drops {unknown}")
                words = ", ".join(f'unknown field "spec.{field}"' for field in unknown)
                what = 'TrainJob in version "v1alpha1" cannot be handled as a TrainJob'
                self.answer(400, _status(400, f"{what}: strict decoding error: {words}"))
            else:
                cluster.created.append(copy.deepcopy(body))
                if cluster.queues:
                    kueue.suspend(body)
                cluster.jobs[name] = body
                self.answer(201, body)

        def do_DELETE(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            if self._refused("DELETE"):
                return
            cluster.deleted.append(name)
            if cluster.jobs.pop(name, None):
                cluster.pods.clear()
                self.answer(200, _status(200, "deleted"))
            else:
                self._missing(name)

        def _refused(self, method: str) -> bool:
            for refusal in cluster.refusals:
                verb, part, code, body = refusal
                if verb == method and part in self.path:
                    cluster.refusals.remove(refusal)
                    if code == 0:
                        self.close_connection = True
                    else:
                        self.answer(code, body or _status(code, "the API server is not well"))
                    return True
            return False

        def _object(self, path: str) -> None:
            folder, _, name = path.rpartition("/")
            if folder == _JOBS and not cluster.installed:
                self.text(404, "404 page not found\n")
                return
            objects = {_JOBS: cluster.jobs, _PODS: cluster.own_pods, _WORKFLOWS: cluster.workflows}[folder]
            if name in objects:
                self.answer(200, objects[name])
            else:
                self._missing(name)

        def _log(self, pod: str, query: dict[str, list[str]]) -> None:
            if pod not in cluster.logs:
                self._missing(pod)
                return
            lines = (cluster.previous_logs if query.get("previous") else cluster.logs).get(pod)
            if lines is None:
                self.answer(400, _status(400, f'previous terminated container "node" in pod "{pod}" not found'))
                return
            payload = "".join(line + "\n" for line in lines).encode()
            cut = cluster.cuts.pop(0) if cluster.cuts and query.get("follow") else None
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload[:cut])
            self.close_connection = self.close_connection or cut is not None

        def _missing(self, name: str) -> None:
            self.answer(404, _status(404, f'"{name}" not found', name=name))

    return Handler


@pytest.fixture
def trainer_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainerCluster]:
    """The stand-in, named by this test's kubeconfig; this process is the pod `OWN_POD` in it."""
    made = TrainerCluster(tmp_path / "workspace")
    monkeypatch.setenv("HOSTNAME", OWN_POD)
    with stand_in.serving(_handler(made)) as url:
        stand_in.use_kubeconfig(url, tmp_path, monkeypatch, NAMESPACE)
        yield made

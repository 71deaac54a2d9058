"""How the acceptance suite explains itself: the table, the evidence, the reading of workflows, the waits."""

import base64
import gzip
import json
from types import SimpleNamespace
from typing import Any

import pytest
from support.acceptance import workflows
from support.acceptance.evidence import gather
from support.acceptance.kube import EVENTS, PODS, SERVICES_OF_MODELS, WORKFLOWS, Kube
from support.acceptance.promises import Promises, promise_of
from support.acceptance.suite import is_rolled_out
from support.acceptance.training import complete_checkpoints
from support.acceptance.waiting import Deadline
from support.object_api import ObjectApi


def report(outcome: str, duration: float, longrepr: Any = None) -> SimpleNamespace:
    return SimpleNamespace(outcome=outcome, duration=duration, longrepr=longrepr)


def node(name: str, phase: str = "Succeeded", kind: str = "Pod", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "phase": phase, "startedAt": name, **more}


NODES = {
    "1": node("run-x.root", kind="DAG"),
    "2": node("run-x.root.ingest-driver"),
    "3": node("run-x.root.ingest.executor"),
    "4": node("run-x.root.profile-shards.iteration(0:0).iteration-item.generate-profiles.executor", kind="Retry"),
    "5": node(
        "run-x.root.profile-shards.iteration(0:0).iteration-item.generate-profiles.executor(0)", "Error", message="gone"
    ),
    "6": node("run-x.root.profile-shards.iteration(0:0).iteration-item.generate-profiles.executor(1)"),
}


def test_the_table_has_each_promise_with_result_time_and_reason() -> None:
    promises = Promises()
    promises.add("a", "The chart installs", report("passed", 20))
    promises.add("a", "The chart installs", report("passed", 7))
    promises.add("b", "Queues", report("skipped", 0, ("file", 1, "Skipped: no Kueue\nhere")))
    crash = SimpleNamespace(reprcrash=SimpleNamespace(message="AssertionError: it said no\nassert 1 == 2"))
    promises.add("c", "helm test", report("failed", 3, crash))
    promises.add("c", "helm test", report("passed", 1))
    head, *rows, total = promises.lines()
    assert head.split() == ["promise", "result", "seconds", "reason"]
    assert rows[0].split() == ["The", "chart", "installs", "passed", "27", "s"]
    assert rows[1].endswith("skipped       0 s  no Kueue")
    assert rows[2].endswith("failed        4 s  AssertionError: it said no")
    assert total == "1 passed, 1 skipped, 1 failed"


def test_a_test_says_what_it_promises() -> None:
    def tells() -> None:
        """A run goes green.

        More words.
        """

    assert promise_of(tells) == "A run goes green"
    with pytest.raises(ValueError, match="says in its docstring"):
        promise_of(lambda: None)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("run-x.root.ingest.executor", "ingest"),
        ("run-x(0).root(0).ingest(0).executor(0)", "ingest"),
        ("run-x(0).root(0).shards(0).iteration(1:1)(0).item(0).generate-profiles(1).executor(2)", "generate-profiles"),
        ("run-x(0).root(0).ingest-driver(0)", None),
        ("run-x(0).root(0).ingest(0)", None),
    ],
)
def test_a_step_is_found_whatever_argo_tries_again(name: str, step: str | None) -> None:
    assert workflows.step_of(name) == step


@pytest.mark.parametrize("compressed", [False, True])
def test_steps_and_attempts_are_read_from_a_workflow(compressed: bool) -> None:
    packed = base64.b64encode(gzip.compress(json.dumps(NODES).encode())).decode()
    status = {"compressedNodes": packed} if compressed else {"nodes": NODES}
    workflow = {"status": {"phase": "Running", **status}}
    assert workflows.steps_that_ran(workflow) == {"ingest", "generate-profiles"}
    assert [each["phase"] for each in workflows.attempts(workflow, "generate-profiles")] == ["Error", "Succeeded"]
    assert workflows.failures(workflow) == ["None of generate-profiles: Error: gone"]
    assert not workflows.is_over(workflow)
    assert not workflows.is_over(None)


def test_a_failure_shows_logs_events_conditions_and_kserves_reason(api: ObjectApi, kube: Kube) -> None:
    run = api.put(f"{WORKFLOWS.format('kubeflow')}/run-x", labels={"pipeline/runid": "r1"})
    run["status"] = {"phase": "Failed", "message": "child failed", "nodes": NODES}
    pod = api.put(
        f"{PODS.format('kubeflow')}/run-x-profiles-1",
        labels={"workflows.argoproj.io/workflow": "run-x"},
        annotations={"workflows.argoproj.io/node-name": NODES["5"]["name"]},
    )
    ended = {"name": "main", "ready": False, "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    pod["status"] = {"phase": "Failed", "containerStatuses": [ended]}
    api.logs["run-x-profiles-1"] = '{"event": "last"}\n'
    other = api.put(f"{PODS.format('kubeflow')}/theirs")
    other["status"] = {"phase": "Failed", "message": "not our concern"}
    service = api.put(f"{SERVICES_OF_MODELS.format('kubeflow')}/oct-1a2b3c")
    failure = {"reason": "NoSupportingRuntime", "message": "no runtime found to support predictor"}
    service["status"] = {"modelStatus": {"transitionStatus": "InvalidSpec", "lastFailureInfo": failure}}
    event = api.put(f"{EVENTS.format('kubeflow')}/e1")
    event |= {"involvedObject": {"kind": "Pod", "name": "run-x-profiles-1"}, "reason": "BackOff", "message": "again"}
    told = gather(kube, ["kubeflow"], "oct-1a2b3c", ["r1"])
    assert "run-x: Failed child failed" in told
    assert "run-x-profiles-1 (generate-profiles): Failed" in told
    assert "OOMKilled" in told
    assert '| {"event": "last"}' in told
    assert "NoSupportingRuntime: no runtime found to support predictor" in told
    assert "Pod/run-x-profiles-1: BackOff: again" in told
    assert "not our concern" not in told


def test_evidence_that_cannot_be_had_hides_nothing(api: ObjectApi, kube: Kube) -> None:
    api.put(f"{PODS.format('kubeflow')}/oct-1a2b3c-x")["status"] = {"phase": "Pending"}
    api.failures = [403]
    told = gather(kube, ["kubeflow"], "oct-1a2b3c", ["r1"])
    assert "(cannot be read: GET" in told
    assert "oct-1a2b3c-x (no step): Pending" in told


def test_a_wait_ends_with_what_it_waited_for() -> None:
    now = [0.0]
    deadline = Deadline(1, clock=lambda: now[0])

    def pause(seconds: float) -> None:
        now[0] += seconds

    assert deadline.until("ten", lambda: now[0] >= 10, seconds=30, every=5, pause=pause)
    with pytest.raises(AssertionError, match=r"^a pod: not within 20 s; now: Pending$"):
        deadline.until("a pod", lambda: False, seconds=20, every=5, state=lambda: "Pending", pause=pause)
    with pytest.raises(AssertionError, match=r"^a pod: the run has failed$"):
        deadline.until("a pod", lambda: False, seconds=20, give_up=lambda: "the run has failed", pause=pause)
    with pytest.raises(AssertionError, match=r"not within 30 s \(the suite's 1 minutes are over\)"):
        deadline.until("a pod", lambda: False, seconds=600, every=5, pause=pause)


def test_a_deployment_is_rolled_out_when_only_new_pods_are_left() -> None:
    deployment: dict[str, Any] = {"metadata": {"generation": 2}, "spec": {"replicas": 1}}
    good = {"observedGeneration": 2, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
    assert is_rolled_out(deployment | {"status": good})
    for stale in ({"observedGeneration": 1}, {"replicas": 2}, {"availableReplicas": 0}):
        assert not is_rolled_out(deployment | {"status": good | stale})


def test_a_checkpoint_counts_once_every_nodes_part_is_whole() -> None:
    key = "0123456789abcdef0123"
    first, second = f"{key}4567", f"{key}4567-node1"
    names = [
        "another-training/checkpoint-12.complete.json",
        f"{first}/checkpoint-1/d1/model.safetensors",
        f"{first}/checkpoint-1.complete.json",
        f"{second}/checkpoint-1/d1/model.safetensors",
    ]
    assert complete_checkpoints(names, key, nodes=2) == set()
    assert complete_checkpoints([*names, f"{second}/checkpoint-1.complete.json"], key, nodes=2) == {1}

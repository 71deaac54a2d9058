"""The sft step as the watcher of a TrainJob: whatever happens to job, stream and API, it ends as the job ends."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.small_mixture import make_mixture, small_rows
from support.trainer_api import WORKFLOW, TrainerCluster

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.storage.workspace import Artifact, Workspace
from opencharacter.training import SftConfig, train
from opencharacter.training.job import Event, NodeArguments
from opencharacter.training.trainjob import TRAINJOB_VARIABLE, TrainJobSettings, run_train_job
from opencharacter.training.trainjob.kept_logs import MOST_CHARACTERS
from opencharacter.training.trainjob.manifest import SPEC_ANNOTATION

SETTINGS = TrainJobSettings(image="training:1", nodes=2, queue="gpus", memory="4Gi", memory_needed="7Gi")
TASK = NodeArguments(
    config=SftConfig(base_model="org/model", processes=2),
    mixture=Artifact(kind="mixture", key="m", uri="s3://bucket/outputs/mixture/m", digest="d"),
    workspace="s3://bucket/run",
    seed=1,
    experiment=None,
    key="ab" * 32,
)
NAME = "opencharacter-sft-" + "ab" * 10


def _event(**fields: Any) -> str:
    return f"@opencharacter-event {Event(**fields).model_dump_json(exclude_unset=True)}"


def _steps(*steps: int) -> list[str]:
    return [_event(kind="progress", step=step, total_steps=9, loss=2.0, tokens=10) for step in steps]


def _run(cluster: TrainerCluster, *, committed: bool = False) -> None:
    task = TASK.model_copy(update={"workspace": str(cluster.workspace)})
    run_train_job(SETTINGS, task, lambda: committed, pause=cluster.pause)


def _kept(cluster: TrainerCluster, node: int) -> str:
    return (cluster.workspace / "logs" / NAME / f"node-{node}.log").read_text()


def _shown(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(str(record.args[0])) for record in caplog.records if "loss" in record.getMessage() and record.args]


@pytest.fixture(autouse=True)
def _hear_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="opencharacter")


def test_it_waits_in_the_queue_then_shows_progress_and_ends_well(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = trainer_cluster
    cluster.queues = True

    def admit() -> None:
        cluster.admit()
        cluster.start("loading", *_steps(1, 2))

    cluster.script = [*[lambda: None] * 40, admit, lambda: cluster.say(*_steps(3)), cluster.finish]
    _run(cluster)
    assert _shown(caplog) == [1, 2, 3]
    assert caplog.text.count("waits in queue gpus") == 1, "said once, however long it lasts"
    (job,) = cluster.created
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Workflow", WORKFLOW, "workflow-uid")
    assert cluster.jobs == {}, "the model is committed: nothing is left to hold volumes"


def test_what_holds_a_pod_up_is_said(trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster = trainer_cluster

    def no_image() -> None:
        cluster.start()
        waiting = {"reason": "ImagePullBackOff", "message": "training:1 not found"}
        cluster.pods[0]["status"]["containerStatuses"][0]["state"] = {"waiting": waiting}

    def no_room() -> None:
        cluster.pods[0]["status"] = {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
            ]
        }

    cluster.script = [no_image, no_room, cluster.finish]
    _run(cluster)
    assert "ImagePullBackOff: training:1 not found" in caplog.text
    assert "Unschedulable: 0/3 nodes" in caplog.text


@pytest.mark.parametrize("of_the_nodes", [True, False])
def test_a_job_that_gets_no_pods_says_why(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture, of_the_nodes: bool
) -> None:
    cluster = trainer_cluster
    quota = 'pods "x" is forbidden: exceeded quota: team'
    cluster.script = [lambda: cluster.warn(quota, of_the_nodes=of_the_nodes), *[lambda: None] * 9, cluster.finish]
    _run(cluster)
    assert caplog.text.count(f"has no pods: {quota}") == 1


def test_an_account_that_may_not_read_events_waits_all_the_same(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.refusals = [("GET", "/events", 403, {"message": 'User "me" cannot list resource "events"'})] * 40
    cluster.script = [*[lambda: None] * 9, cluster.finish]
    _run(cluster)
    assert len(cluster.refusals) < 40


def test_a_field_that_the_cluster_drops_is_not_waited_for(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.queues = True

    def admit() -> None:
        cluster.admit()
        pod = cluster.job()["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]
        del pod["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["volumes"]

    cluster.script = [admit]
    with pytest.raises(
        UserError, match=r"dropped spec\.runtimePatches\[0\]\.\S+\.volumes, so its pods can't run"
    ) as refused:
        _run(cluster)
    assert "Kueue 0.17" in str(refused.value.hint)
    assert cluster.jobs == {}


def test_a_failed_job_fails_with_the_end_of_its_log(trainer_cluster: TrainerCluster) -> None:
    """Kubernetes deletes its pods, and their logs with them."""
    cluster = trainer_cluster
    cluster.script = [
        lambda: (cluster.start(*_steps(1), "Segmentation fault"), cluster.start("NCCL: peer is gone", index=1)),
        cluster.fail,
    ]
    with pytest.raises(
        OpenCharacterError, match=r"(?s)FailedJobs.*Segmentation fault.*logs/opencharacter-sft"
    ) as failed:
        _run(cluster)
    assert failed.value.exit_code == 1
    assert NAME in cluster.jobs, "kept, to be looked at; the next attempt replaces it"
    assert "step 1 of 9: loss 2.0" in _kept(cluster, 0)
    assert "Segmentation fault" in _kept(cluster, 0)
    assert "NCCL: peer is gone" in _kept(cluster, 1)


def test_each_restart_is_told_with_machine_and_reason(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = trainer_cluster
    warning = _event(kind="warning", message="a checkpoint could not be stored")

    def begin() -> None:
        cluster.start(*_steps(1), machine="worker-a")
        cluster.start("first try", warning, index=1, machine="worker-b")

    def evict() -> None:
        cluster.pods[0]["status"] |= {"reason": "Evicted", "message": "The node was low on resource: memory."}

    def replace() -> None:
        cluster.pods.pop(0)
        cluster.start(*_steps(2), pod="successor", machine="worker-c")

    def lose() -> None:
        cluster.pods.pop()

    cluster.script = [
        begin,
        lambda: cluster.restart(1, "second try", exitCode=137, reason="OOMKilled"),
        lambda: cluster.say(*_steps(2, 3)),
        evict,
        replace,
        lose,
        cluster.finish,
    ]
    _run(cluster)
    node_1 = f"node 1 (pod {NAME}-node-0-1 on worker-b)"
    assert f"{node_1} ended: OOMKilled (exit code 137)" in caplog.text
    assert f"{node_1} runs again (restart 1)" in caplog.text
    assert f"(pod {NAME}-node-0-0 on worker-a) ended: Evicted: The node was low on resource" in caplog.text
    assert "node 0 (pod successor on worker-c) runs in its place" in caplog.text
    assert "(pod successor on worker-c) ended: its pod is gone" in caplog.text
    assert "node 1: a checkpoint could not be stored" in caplog.text
    kept = _kept(cluster, 1)
    assert kept.index("first try") < kept.index("OOMKilled") < kept.index("second try")


def test_memory_that_runs_out_twice_at_the_same_step_ends_the_job(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    cluster.script = [
        lambda: (cluster.start(*_steps(1)), cluster.start("loading", index=1, machine="worker-b")),
        lambda: cluster.restart(1, **killed),
        lambda: cluster.say(*_steps(2, 3)),  # it came further: not the same as before
        lambda: cluster.restart(1, **killed),
        lambda: cluster.restart(1, "loading again", **killed),
    ]
    with pytest.raises(
        UserError, match=r"node-0-1 on worker-b\) ran out again at step 3.*memory limit is 4Gi"
    ) as ended:
        _run(cluster)
    assert "steps.sft.memory" in str(ended.value.hint)
    assert "7Gi" in str(ended.value.hint)
    assert cluster.jobs == {}, "it is not tried six times"
    assert _kept(cluster, 1).count("OOMKilled") == 3


def test_an_end_is_told_once_though_the_kubelet_waits_before_the_restart(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Else memory that runs out once would count as twice."""
    cluster = trainer_cluster
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    cluster.script = [
        lambda: cluster.start(*_steps(1)),
        lambda: cluster.end_container(0, **killed),
        lambda: cluster.back_off(0, **killed),
        lambda: cluster.restart(0, *_steps(1, 2), **killed),
        cluster.finish,
    ]
    _run(cluster)
    assert caplog.text.count("ended: OOMKilled") == 1
    assert "CrashLoopBackOff" in caplog.text


def test_memory_that_the_workers_run_out_of_counts_too(trainer_cluster: TrainerCluster) -> None:
    """Where the kernel kills a worker, and not the container."""
    cluster = trainer_cluster
    failure = _event(kind="failure", message="a worker was killed", hint="lower", exit_code=1, out_of_memory=True)
    cluster.script = [lambda: cluster.start(failure), lambda: cluster.restart(0, failure, exitCode=1, reason="Error")]
    with pytest.raises(UserError, match="ran out again at step 0, as in the run before: a worker was killed") as ended:
        _run(cluster)
    assert ended.value.hint == "lower"


def test_what_a_run_said_before_its_restart_is_read_and_kept_over_attempts(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster

    def restart() -> None:
        cluster.say("last words")
        cluster.restart(0, "second run", exitCode=1, reason="Error")

    cluster.script = [lambda: cluster.start("first run"), restart, cluster.fail]
    with pytest.raises(OpenCharacterError):
        _run(cluster)
    cluster.script = [lambda: cluster.start("next attempt"), cluster.finish]
    _run(cluster)
    kept = _kept(cluster, 0)
    assert kept.index("first run") < kept.index("second run") < kept.index("next attempt")
    assert kept.count("last words") == 1


def test_a_log_without_end_is_kept_from_its_end(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    lines = [f"line {number} " + "x" * 90 for number in range(5000)]
    cluster.script = [lambda: cluster.start(*lines), cluster.finish]
    _run(cluster)
    kept = _kept(cluster, 0)
    assert len(kept) <= MOST_CHARACTERS
    assert kept.startswith("line ")
    assert kept.endswith(lines[-1] + "\n")


def test_a_workspace_that_is_away_does_not_stop_the_training(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> str:
        raise OpenCharacterError("the object store is away")

    monkeypatch.setattr("opencharacter.storage.local.LocalBackend.write_log", away)
    cluster = trainer_cluster
    cluster.script = [lambda: cluster.start(*_steps(1)), lambda: cluster.say(*_steps(2)), cluster.finish]
    _run(cluster)
    assert _shown(caplog) == [1, 2]
    assert caplog.text.count("the object store is away") == 1


def test_a_cancelled_job_is_deleted_before_its_logs_are_kept(
    trainer_cluster: TrainerCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod that is told to end has half a minute, and a store that is away may take all of it."""
    cluster, order = trainer_cluster, []

    def cancel() -> None:
        monkeypatch.setattr(
            "opencharacter.storage.local.LocalBackend.write_log", lambda *_: order.append(len(cluster.jobs))
        )
        raise KeyboardInterrupt

    cluster.script = [lambda: cluster.start(*_steps(1)), lambda: cluster.say("more"), cancel]
    with pytest.raises(KeyboardInterrupt):
        _run(cluster)
    assert order == [0]


def test_the_users_mistake_ends_the_job_at_once(trainer_cluster: TrainerCluster) -> None:
    """Kubernetes would start the pods again, some six times, to hear the same."""
    cluster = trainer_cluster
    failure = _event(kind="failure", message="row 7 is bad", hint="mend it", exit_code=2)
    cluster.script = [lambda: cluster.start(*_steps(1), failure)]
    with pytest.raises(UserError, match="row 7 is bad") as failed:
        _run(cluster)
    assert failed.value.hint == "mend it"
    assert cluster.jobs == {}


def test_a_failure_that_kubernetes_mends_is_none(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = trainer_cluster
    failure = _event(kind="failure", message="connection reset by peer", exit_code=1)

    restart = {"exitCode": 1, "reason": "Error"}
    cluster.script = [
        lambda: cluster.start(*_steps(1, 2), failure),
        lambda: cluster.restart(0, *_steps(2, 3), **restart),
        cluster.finish,
    ]
    _run(cluster)
    assert _shown(caplog) == [1, 2, 2, 3]


def test_a_node_that_ran_out_of_memory_is_named_beside_what_the_first_one_saw(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster

    def fail() -> None:
        cluster.end_container(1, exitCode=137, reason="OOMKilled")
        cluster.finish("Failed", reason="FailedJobs", message="failed")

    reset = _event(kind="failure", message="connection reset by peer", exit_code=1)
    cluster.script = [lambda: (cluster.start(reset), cluster.start("loading", index=1)), fail]
    with pytest.raises(
        OpenCharacterError, match=rf"(?s){NAME}-node-0-1 .*OOMKilled.*node 0 said: connection reset"
    ) as failed:
        _run(cluster)
    assert "steps.sft.memory" in str(failed.value.hint)


def test_another_nodes_mistake_keeps_its_exit_code(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    mistake = _event(kind="failure", message="no such base model", exit_code=2)
    cluster.script = [
        lambda: (cluster.start("waiting for peers"), cluster.start(mistake, index=1)),
        lambda: cluster.finish("Failed", reason="FailedJobs", message="failed"),
    ]
    with pytest.raises(UserError, match="no such base model"):
        _run(cluster)


def test_a_broken_stream_loses_and_doubles_nothing(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = trainer_cluster
    cluster.cuts = [0, 30, 250, 251, 400]
    cluster.refusals = [("GET", "/log", 500, None), ("GET", "/log", 0, None), ("GET", "/log", 403, None)]
    going_on = [lambda: None] * 8
    cluster.script = [lambda: cluster.start(*_steps(1, 2, 3)), *going_on, lambda: cluster.say(*_steps(4)), *going_on]
    cluster.script.append(cluster.finish)
    _run(cluster)
    assert _shown(caplog) == [1, 2, 3, 4]
    assert cluster.cuts == [], "all breaks were met"
    assert cluster.refusals == []


def test_an_evicted_pods_successor_is_followed(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = trainer_cluster
    cluster.script = [
        lambda: cluster.start(*_steps(1)),
        lambda: cluster.start(*_steps(2), pod="successor"),
        cluster.finish,
    ]
    _run(cluster)
    assert _shown(caplog) == [1, 2]


@pytest.mark.parametrize("at_creation", [True, False])
def test_a_retry_attaches_to_the_job(trainer_cluster: TrainerCluster, at_creation: bool) -> None:
    cluster = trainer_cluster
    cluster.script = [lambda: pytest.fail("interrupted")]
    with pytest.raises(pytest.fail.Exception):
        _run(cluster)
    if at_creation:  # as when the answer to the first attempt's request was lost
        cluster.refusals = [("GET", "/trainjobs/", 404, {"kind": "Status", "details": {"name": NAME}})]
    cluster.script = [cluster.finish]
    _run(cluster)
    assert len(cluster.created) == 1


@pytest.mark.parametrize(
    ("state", "replaced"),
    [("Failed", True), ("Complete", True), ("other settings", True), ("being deleted", True), (None, False)],
)
def test_a_job_of_an_earlier_attempt_is_replaced_if_it_is_of_no_use(
    trainer_cluster: TrainerCluster, state: str | None, replaced: bool
) -> None:
    cluster = trainer_cluster
    cluster.script = [lambda: pytest.fail("interrupted")]
    with pytest.raises(pytest.fail.Exception):
        _run(cluster)
    cluster.script = [cluster.finish]
    if state in ("Failed", "Complete"):
        cluster.finish(state)
    elif state == "other settings":
        cluster.job()["metadata"]["annotations"][SPEC_ANNOTATION] = "another"
    elif state == "being deleted":
        cluster.job()["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        cluster.script.insert(0, cluster.jobs.clear)
    _run(cluster)
    assert len(cluster.created) == (2 if replaced else 1)


def test_a_complete_job_whose_model_is_there_is_left_alone(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.script = [lambda: pytest.fail("interrupted")]
    with pytest.raises(pytest.fail.Exception):
        _run(cluster)
    cluster.finish()
    _run(cluster, committed=True)
    assert len(cluster.created) == 1


def test_a_cancelled_runs_step_takes_its_job_along(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster

    def cancel() -> None:
        cluster.workflows[WORKFLOW]["spec"]["activeDeadlineSeconds"] = 0  # as KFP terminates a run
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    cluster.script = [cancel]
    with pytest.raises(SystemExit) as ended:
        _run(cluster)
    assert ended.value.code == 128 + signal.SIGTERM
    assert cluster.jobs == {}
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_evicted_step_leaves_its_job_to_the_next_attempt(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.script = [lambda: os.kill(os.getpid(), signal.SIGTERM)]
    with pytest.raises(SystemExit):
        _run(cluster)
    assert NAME in cluster.jobs


def test_ctrl_c_takes_the_job_along_also_outside_a_pipeline(
    trainer_cluster: TrainerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = trainer_cluster
    cluster.own_pods.clear()

    def interrupt() -> None:
        raise KeyboardInterrupt

    cluster.script = [interrupt]
    with pytest.raises(KeyboardInterrupt):
        _run(cluster)
    assert cluster.jobs == {}
    assert "no pipeline run owns this training" in caplog.text


def test_a_job_that_somebody_deletes_is_not_waited_for(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.script = [cluster.jobs.clear]
    with pytest.raises(OpenCharacterError, match="was deleted while it ran"):
        _run(cluster)


def test_an_unwell_api_server_is_waited_for(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.refusals = [("POST", "/trainjobs", 503, None), ("GET", f"/trainjobs/{NAME}", 500, None)]
    cluster.refusals += [("GET", "/pods", 0, None)] * 9
    cluster.script = [lambda: None] * 6 + [cluster.finish]
    _run(cluster)
    assert len(cluster.created) == 1
    assert cluster.refusals == []


def test_an_api_server_that_stays_away_fails_the_step_and_leaves_the_job(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.script = [lambda: None] * 100
    cluster.refusals = [("GET", "/pods?", 503, None)] * 100
    with pytest.raises(OpenCharacterError, match="API can't be used") as failed:
        _run(cluster)
    assert failed.value.exit_code == 1
    assert sum(cluster.pauses) > 600
    assert NAME in cluster.jobs


def test_a_trainer_that_is_too_old_is_refused_before_anything_is_made(trainer_cluster: TrainerCluster) -> None:
    """Kubernetes' default is to drop what it does not know: pods would run without volumes and security context."""
    trainer_cluster.trainer = "2.1"
    with pytest.raises(UserError, match=r"too old: 2\.2 or later is needed.*spec\.runtimePatches") as refused:
        _run(trainer_cluster)
    assert "update Kubeflow Trainer" in str(refused.value.hint)
    assert trainer_cluster.created == []


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (None, "Kubeflow Trainer is not installed"),
        (
            ("POST", "/trainjobs", 403, {"message": 'User "me" cannot create resource "trainjobs"'}),
            "does not let this account create trainjobs.*cannot create resource",
        ),
        (
            ("POST", "/trainjobs", 403, {"message": 'admission webhook "w" denied the request: no such runtime'}),
            '^the cluster refuses to create trainjobs in namespace team: admission webhook "w" denied the request: no',
        ),
        (
            ("GET", "/workflows", 403, {"message": 'User "me" cannot get resource "workflows"'}),
            "does not let this account get workflows.*cannot get resource",
        ),
        (("POST", "/trainjobs", 422, {"message": "runtime x is not there"}), "runtime x is not there"),
        (("POST", "/trainjobs", 404, {"details": {"kind": "namespaces", "name": "team"}}), "no namespace team"),
    ],
)
def test_what_the_cluster_refuses_is_the_users_to_mend(
    trainer_cluster: TrainerCluster, refusal: tuple[str, str, int, dict[str, Any]] | None, words: str
) -> None:
    if refusal is None:
        trainer_cluster.installed = False
    else:
        trainer_cluster.refusals = [refusal]
    with pytest.raises(UserError, match=words):
        _run(trainer_cluster)
    assert trainer_cluster.created == []


@pytest.mark.parametrize("trained", [True, False])
def test_the_step_gives_the_model_that_the_job_has_committed(
    trainer_cluster: TrainerCluster, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: bool
) -> None:
    cluster, workspace = trainer_cluster, Workspace(s3_root)
    mixture = make_mixture(Workspace(tmp_path / "local"), small_rows())
    monkeypatch.setenv(TRAINJOB_VARIABLE, SETTINGS.model_dump_json())
    monkeypatch.setattr("opencharacter.training.trainjob.launcher.time.sleep", cluster.pause)

    def end() -> None:
        task = NodeArguments.model_validate_json(cluster.job()["spec"]["trainer"]["args"][0])
        assert (task.mixture, task.seed, task.experiment) == (mixture, 3, "characters")
        if trained:
            with Workspace(task.workspace).create("model", task.key) as draft:
                (draft.path / "README.md").write_text("as node 0 would")
        cluster.finish()

    cluster.script = [lambda: cluster.start("the base model is loaded"), end]
    if trained:
        ref = train(TASK.config, mixture, workspace=workspace, seed=3, experiment="characters")
        assert workspace.lookup("model", ref.key) == ref
    else:
        with pytest.raises(OpenCharacterError, match=r"ended well, but .* has no model"):
            train(TASK.config, mixture, workspace=workspace, seed=3, experiment="characters")
    assert "the base model is loaded" in workspace.read_log(f"{cluster.created[0]['metadata']['name']}/node-0.log")


def test_a_workspace_that_the_nodes_cannot_reach_is_refused(
    trainer_cluster: TrainerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRAINJOB_VARIABLE, SETTINGS.model_dump_json())
    mixture = make_mixture(Workspace(tmp_path), small_rows())
    with pytest.raises(UserError, match=f"{tmp_path}' is local"):
        train(TASK.config, mixture, workspace=Workspace(tmp_path), seed=3)
    assert trainer_cluster.created == []

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
from opencharacter.storage.workspace import Ref, Workspace
from opencharacter.training import SftConfig, train
from opencharacter.training.job import Event, NodeArguments
from opencharacter.training.trainjob import TRAINJOB_VARIABLE, TrainJobSettings, run_train_job
from opencharacter.training.trainjob.manifest import SPEC_ANNOTATION

SETTINGS = TrainJobSettings(image="training:1", nodes=2, queue="gpus")
TASK = NodeArguments(
    config=SftConfig(base_model="org/model", processes=2),
    mixture=Ref(kind="mixture", key="m", uri="s3://bucket/outputs/mixture/m", digest="d"),
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
    run_train_job(SETTINGS, TASK, lambda: committed, pause=cluster.pause)


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


def test_a_failed_job_fails_with_the_end_of_its_log(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster
    cluster.script = [
        lambda: cluster.start(*_steps(1), "Segmentation fault"),
        lambda: cluster.finish("Failed", reason="FailedJobs", message="jobset failed due to one or more job failures"),
    ]
    with pytest.raises(OpenCharacterError, match=r"(?s)FailedJobs.*Segmentation fault") as failed:
        _run(cluster)
    assert failed.value.exit_code == 1
    assert NAME in cluster.jobs, "kept, to be looked at; the next attempt replaces it"


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

    def restart() -> None:
        cluster.pods[0]["status"]["containerStatuses"][0]["restartCount"] = 1
        cluster.logs[cluster.pods[0]["metadata"]["name"]] = []
        cluster.say(*_steps(2, 3))

    cluster.script = [lambda: cluster.start(*_steps(1, 2), failure), restart, cluster.finish]
    _run(cluster)
    assert _shown(caplog) == [1, 2, 2, 3]


def test_a_node_that_ran_out_of_memory_is_named_beside_what_the_first_one_saw(trainer_cluster: TrainerCluster) -> None:
    cluster = trainer_cluster

    def fail() -> None:
        cluster.end_container(1, exitCode=137, reason="OOMKilled")
        cluster.finish("Failed", reason="FailedJobs", message="failed")

    reset = _event(kind="failure", message="connection reset by peer", exit_code=1)
    cluster.script = [lambda: (cluster.start(reset), cluster.start("loading", index=1)), fail]
    with pytest.raises(OpenCharacterError, match=rf"(?s)connection reset by peer.*{NAME}-node-0-1: OOMKilled"):
        _run(cluster)


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
            with Workspace(task.workspace).produce("model", task.key) as draft:
                (draft.path / "README.md").write_text("as node 0 would")
        cluster.finish()

    cluster.script = [end]
    if trained:
        ref = train(TASK.config, mixture, workspace=workspace, seed=3, experiment="characters")
        assert workspace.lookup("model", ref.key) == ref
    else:
        with pytest.raises(OpenCharacterError, match=r"ended well, but .* has no model"):
            train(TASK.config, mixture, workspace=workspace, seed=3, experiment="characters")


def test_a_workspace_that_the_nodes_cannot_reach_is_refused(
    trainer_cluster: TrainerCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRAINJOB_VARIABLE, SETTINGS.model_dump_json())
    mixture = make_mixture(Workspace(tmp_path), small_rows())
    with pytest.raises(UserError, match=f"{tmp_path}' is local"):
        train(TASK.config, mixture, workspace=Workspace(tmp_path), seed=3)
    assert trainer_cluster.created == []

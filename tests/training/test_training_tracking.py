"""The training run in a real MLflow store."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import stand_in

from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import digest
from opencharacter.records.training import LossPoint
from opencharacter.training.job import Job, Nodes, Result, RowCounts, Tracking
from opencharacter.training.sft_config import LoraSettings, SftConfig
from opencharacter.training.worker.tracking import MlflowRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

POINT = LossPoint(step=3, epoch=0.5, loss=2.5, learning_rate=1e-4, grad_norm=1.0, tokens_per_s=80.0)
RESULT = Result(
    world_size=1,
    steps=6,
    resumed_from_step=3,
    train_s=4.0,
    tokens_per_s=90.0,
    dtype="float32",
    rows=RowCounts(rows=12, tokens=700, response_tokens=200),
    losses=[POINT],
    mlflow_run_id=None,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that several tests share, each with an experiment of its own: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def client(store: str, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    from mlflow import MlflowClient

    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    return MlflowClient(store)


@pytest.fixture
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Job:
    return Job(
        config=SftConfig(base_model="m", lora=LoraSettings(rank=4)),
        base_model=tmp_path,
        rows=tmp_path / "rows",
        folder=tmp_path,
        workspace=str(tmp_path),
        checkpoints="job",
        nodes=Nodes(),
        model=tmp_path / "model",
        result=tmp_path / "result.json",
        seed=7,
        tracking=Tracking(
            experiment=f"characters {digest(request.node.nodeid)[:8]}",
            dataset_uri=str(tmp_path),
            dataset_digest="ab" * 32,
            tags={"dataset_digest": "ab" * 32},
        ),
    )


def curve(client: "MlflowClient", run_id: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, "train/loss")]


def point(step: int, loss: float) -> LossPoint:
    return POINT.model_copy(update={"step": step, "loss": loss})


def test_all_attempts_are_one_run(job: Job, client: "MlflowClient") -> None:
    first = MlflowRun(job)
    first.log(POINT)
    first.fail()
    again = MlflowRun(job)
    again.begin([POINT])
    again.log(point(6, 2.0))
    again.finish(RESULT)

    assert again.id == first.id
    run = client.get_run(first.id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == job.tracking.experiment
    assert run.data.params.items() >= {"learning_rate": "1e-05", "lora_rank": "4", "seed": "7"}.items()
    assert run.data.tags["dataset_digest"] == "ab" * 32
    assert run.inputs
    assert [dataset.dataset.digest for dataset in run.inputs.dataset_inputs] == [("ab" * 32)[:36]]
    assert curve(client, first.id) == [(3, 2.5), (6, 2.0)]
    assert run.data.metrics["tokens_per_s"] == 90.0
    assert not any(name.startswith("system/") for name in run.data.metrics)


def test_a_deleted_run_is_replaced_on_resume(
    job: Job, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    first = MlflowRun(job)
    first.log(POINT)
    first.fail()
    client.delete_run(first.id)
    again = MlflowRun(job)
    again.begin([POINT])
    again.log(point(6, 2.0))
    again.finish(RESULT)

    assert f"run {again.id} takes its place" in capsys.readouterr().out
    run = client.get_run(again.id)
    assert (run.data.tags["replaces_run"], run.info.status) == (first.id, "FINISHED")
    assert curve(client, again.id) == [(3, 2.5), (6, 2.0)]
    assert run.data.params["seed"] == "7"
    assert (job.folder / "mlflow_run_id").read_text() == again.id
    deleted = client.get_run(first.id)
    assert (deleted.info.lifecycle_stage, deleted.info.status) == ("deleted", "FAILED")
    assert curve(client, first.id) == [(3, 2.5)]


def test_a_run_that_is_deleted_during_the_training_is_replaced(
    job: Job, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    run = MlflowRun(job)
    run.begin([])
    first = run.id
    run.log(POINT)
    client.delete_run(first)
    run.log(point(6, 2.0))
    run.log(point(9, 1.5))
    run.finish(RESULT)
    assert curve(client, run.id) == [(3, 2.5), (6, 2.0), (9, 1.5)]
    assert client.get_run(run.id).data.tags["replaces_run"] == first
    assert curve(client, first) == [(3, 2.5)]
    assert capsys.readouterr().out.count("takes its place") == 1


def test_a_deleted_experiment_is_named_with_how_to_restore_it(job: Job, client: "MlflowClient") -> None:
    experiment = client.create_experiment(str(job.tracking.experiment))
    client.delete_experiment(experiment)
    with pytest.raises(
        UserError, match=rf"experiment '{job.tracking.experiment}' \(id {experiment}\) is deleted"
    ) as no:
        MlflowRun(job)
    assert f"mlflow experiments restore --experiment-id {experiment}" in str(no.value.hint)
    client.restore_experiment(experiment)
    MlflowRun(job).fail()


def test_an_experiment_that_is_deleted_during_the_training_ends_no_training(
    job: Job, client: "MlflowClient", capsys: pytest.CaptureFixture[str]
) -> None:
    run = MlflowRun(job)
    client.delete_experiment(client.get_run(run.id).info.experiment_id)
    run.log(POINT)
    run.finish(RESULT)
    told = capsys.readouterr().out
    assert "did not take the metrics of step 3" in told
    assert "is deleted" in told


def test_a_run_is_continued_in_an_experiment_that_was_renamed(job: Job, client: "MlflowClient") -> None:
    first = MlflowRun(job)
    first.fail()
    client.rename_experiment(client.get_run(first.id).info.experiment_id, f"{job.tracking.experiment}, old")
    again = MlflowRun(job)
    again.fail()
    assert again.id == first.id
    assert client.get_experiment_by_name(str(job.tracking.experiment)) is None


@pytest.mark.parametrize("conflict", [True, False])
def test_under_the_plugin_of_kubeflow_pipelines_the_run_is_the_task_s_child(
    job: Job, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch, conflict: bool
) -> None:
    """The plugin makes a run for the task, sets these variables, and writes the task's own parameters to its run."""
    experiment = client.create_experiment(f"{job.tracking.experiment}, of the pipeline")
    task = client.create_run(experiment, run_name="sft").info.run_id
    client.log_param(task, "seed", '"of the task"')
    monkeypatch.setenv("MLFLOW_RUN_ID", task)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment)
    if conflict:
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    first = MlflowRun(job)
    first.log(POINT)
    first.fail()
    run = client.get_run(first.id)
    assert (run.info.experiment_id, run.data.tags["mlflow.parentRunId"]) == (experiment, task)
    assert run.data.params["seed"] == "7"
    assert client.get_run(task).info.status == "RUNNING"

    retried = client.create_run(experiment, run_name="sft").info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", retried)
    again = MlflowRun(job)
    again.finish(RESULT)
    assert again.id == first.id
    assert client.get_run(first.id).data.tags["mlflow.parentRunId"] == retried


@pytest.mark.parametrize("task", ["0" * 32, "no id of a run", "deleted"])
def test_a_task_s_run_that_is_not_there_stops_no_training(
    job: Job, client: "MlflowClient", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    if task == "deleted":
        task = client.create_run(client.create_experiment(f"{job.tracking.experiment}, deleted")).info.run_id
        client.delete_run(task)
    monkeypatch.setenv("MLFLOW_RUN_ID", task)
    run = MlflowRun(job)
    run.fail()
    assert f"MLFLOW_RUN_ID names the run {task}" in capsys.readouterr().out
    assert "mlflow.parentRunId" not in client.get_run(run.id).data.tags


def test_an_unreachable_server_is_said_at_the_start(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(OpenCharacterError, match=r"http://127\.0\.0\.1:9") as refused:
        MlflowRun(job)
    assert "MLFLOW_TRACKING_URI" in (refused.value.hint or "")


@pytest.mark.parametrize(("status", "words"), [(401, "You are not authenticated."), (403, "Permission denied")])
def test_an_account_that_is_refused_is_named(
    job: Job, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    """As MLflow's own accounts refuse (`mlflow/server/auth`)."""

    class Refusing(stand_in.Handler):
        def do_GET(self) -> None:
            self.text(status, words)

    with stand_in.serving(Refusing) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with pytest.raises(OpenCharacterError, match=f"{url} refuses this account: .*{words}") as refused:
            MlflowRun(job)
    assert "MLFLOW_TRACKING_USERNAME" in (refused.value.hint or "")

"""The training run in a real MLflow store."""

from pathlib import Path

import pytest

from opencharacter.errors import OpenCharacterError
from opencharacter.records.training import LossPoint
from opencharacter.training.job import Job, Nodes, Result, RowCounts, Tracking
from opencharacter.training.sft_config import LoraSettings, SftConfig
from opencharacter.training.worker.tracking import MlflowRun

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


@pytest.fixture
def job(tmp_path: Path) -> Job:
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
            experiment="characters",
            dataset_uri=str(tmp_path),
            dataset_digest="ab" * 32,
            tags={"dataset_digest": "ab" * 32},
        ),
    )


def test_all_attempts_are_one_run(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    first = MlflowRun(job)
    first.log(POINT)
    first.fail()
    again = MlflowRun(job)
    again.log(POINT.model_copy(update={"step": 6, "loss": 2.0}))
    again.finish(RESULT)

    assert again.id == first.id
    run = mlflow.MlflowClient().get_run(first.id)
    assert run.info.status == "FINISHED"
    assert run.data.params.items() >= {"learning_rate": "1e-05", "lora_rank": "4", "seed": "7"}.items()
    assert run.data.tags["dataset_digest"] == "ab" * 32
    assert [dataset.dataset.digest for dataset in run.inputs.dataset_inputs] == [("ab" * 32)[:36]]
    history = mlflow.MlflowClient().get_metric_history(first.id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(3, 2.5), (6, 2.0)]
    assert run.data.metrics["tokens_per_s"] == 90.0
    assert not any(name.startswith("system/") for name in run.data.metrics)


def test_an_unreachable_server_is_said_at_the_start(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(OpenCharacterError, match=r"http://127\.0\.0\.1:9") as refused:
        MlflowRun(job)
    assert "MLFLOW_TRACKING_URI" in (refused.value.hint or "")

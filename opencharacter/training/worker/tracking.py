"""The training run in MLflow. Imported by the worker process only."""

import logging
import os
from pathlib import Path
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.records.training import LossPoint
from opencharacter.training.job import Job, Result

_log = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
RUN_ID_NAME = "mlflow_run_id"
"""File in the job's folder, and in its checkpoints, that names the run."""


class MlflowRun:
    """The one MLflow run of a job: opened by the first attempt, continued by the next ones."""

    def __init__(self, job: Job) -> None:
        """Open or continue the run. Raises `OpenCharacterError` if the server can't be reached."""
        # MLflow's defaults keep a step waiting for many minutes when the server is gone.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        import mlflow
        from mlflow.exceptions import MlflowException

        self._mlflow = mlflow
        self._exception = MlflowException
        try:
            self.id = self._open(job.folder / RUN_ID_NAME, job)
        except MlflowException as error:
            raise OpenCharacterError(
                f"MLflow at {os.environ[URI_VARIABLE]} can't be used: {error}",
                hint=f"start the server, or unset {URI_VARIABLE} to train without it",
            ) from error

    def log(self, point: LossPoint) -> None:
        """Log a point of the loss curve. Training goes on if the server is gone by now."""
        metrics = {f"train/{name}": float(value) for name, value in point.model_dump(exclude={"step"}).items()}
        try:
            self._mlflow.log_metrics(metrics, step=point.step, run_id=self.id)
        except self._exception as error:
            _log.warning("MLflow did not take the metrics of step %d: %s", point.step, error)

    def finish(self, result: Result) -> None:
        """Log the totals and close the run."""
        totals: dict[str, float] = {
            "train_s": result.train_s,
            "tokens_per_s": result.tokens_per_s,
            "final_loss": result.losses[-1].loss,
            **{f"dataset/{name}": count for name, count in result.rows.model_dump().items()},
        }
        self._close("FINISHED", totals)

    def fail(self) -> None:
        """Close the run as failed; another attempt may continue it."""
        self._close("FAILED", {})

    def _close(self, status: str, totals: dict[str, float]) -> None:
        try:
            self._mlflow.log_metrics(totals, run_id=self.id)
            self._mlflow.end_run(status)
        except self._exception as error:
            _log.warning("MLflow did not take the end of the run: %s", error)

    def _open(self, id_file: Path, job: Job) -> str:
        if job.tracking.experiment:
            self._mlflow.set_experiment(job.tracking.experiment)
        run = self._continue(id_file) or self._mlflow.start_run(run_name="sft", log_system_metrics=False)
        id_file.write_text(run.info.run_id, encoding="utf-8")
        if not run.data.params:
            self._describe(job)
        return str(run.info.run_id)

    def _continue(self, id_file: Path) -> Any:
        """The run of an earlier attempt, if the server knows it."""
        if not id_file.is_file():
            return None
        try:
            return self._mlflow.start_run(run_id=id_file.read_text(encoding="utf-8"), log_system_metrics=False)
        except self._exception as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _describe(self, job: Job) -> None:
        from mlflow.data.dataset_source_registry import resolve_dataset_source
        from mlflow.data.meta_dataset import MetaDataset

        parameters: dict[str, Any] = job.config.model_dump(exclude={"lora"}, exclude_none=True) | {"seed": job.seed}
        if job.config.lora:
            parameters |= {f"lora_{name}": value for name, value in job.config.lora.model_dump().items()}
        self._mlflow.log_params(parameters)
        self._mlflow.set_tags(job.tracking.tags)
        # MLflow keeps 36 characters of a digest; the tag `dataset_digest` holds the whole.
        dataset = MetaDataset(  # type: ignore[abstract]
            resolve_dataset_source(job.tracking.dataset_uri), name="mixture", digest=job.tracking.dataset_digest[:36]
        )
        self._mlflow.log_input(dataset, context="training")

"""The training run in MLflow. Imported by the worker process only."""

import contextlib
import os
from typing import Any

from opencharacter.errors import OpenCharacterError
from opencharacter.records.training import LossPoint
from opencharacter.tracking import (
    REPLACES_TAG,
    RUN_VARIABLE,
    URI_VARIABLE,
    bound_waiting,
    explained,
    make_experiment,
    usable_run,
)
from opencharacter.training.job import Event, Job, Result

RUN_ID_NAME = "mlflow_run_id"
"""File in the job's folder, and in its checkpoints, that names the run."""
_PARENT_TAG = "mlflow.parentRunId"


class MlflowRun:
    """The one MLflow run of a job: opened by the first attempt, continued by the next ones.

    A run that was deleted meanwhile is replaced by a new one. Within a task of Kubeflow Pipelines whose MLflow plugin
    names the task's run, the job's run is a child of that.
    """

    def __init__(self, job: Job) -> None:
        """Open or continue the run.

        Raises `UserError` if its experiment is deleted, `OpenCharacterError` if the server can't be used.
        """
        bound_waiting()
        import mlflow
        from mlflow.exceptions import MlflowException

        self._mlflow = mlflow
        self._client = mlflow.MlflowClient()
        self._exception = MlflowException
        self._job = job
        self._points: list[LossPoint] = []
        # MLflow would take the variable for an order to continue that run, and refuse it beside another experiment.
        self._task_run = os.environ.pop(RUN_VARIABLE, None)
        try:
            self.id = self._open()
        except MlflowException as error:
            hint = f"start the server, or unset {URI_VARIABLE} to train without it"
            raise explained(error, f"MLflow at {os.environ[URI_VARIABLE]}", hint) from error

    def begin(self, points: list[LossPoint]) -> None:
        """Take the curve of the attempts before this one: a run that is new gets it."""
        self._points = list(points)
        if self._is_new:
            try:
                self._send_all()
            except self._exception as error:
                _warn(f"MLflow did not take the curve of the attempts before this one: {error}")

    def log(self, point: LossPoint) -> None:
        """Log a point of the loss curve. Training goes on if the server is gone by now."""
        self._points.append(point)
        try:
            self._send(point)
        except self._exception as error:
            self._after_refusal(f"the metrics of step {point.step}", error)

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

    def _send_all(self) -> None:
        for point in self._points:
            self._send(point)

    def _send(self, point: LossPoint) -> None:
        metrics = {f"train/{name}": float(value) for name, value in point.model_dump(exclude={"step"}).items()}
        self._mlflow.log_metrics(metrics, step=point.step, run_id=self.id)

    def _close(self, status: str, totals: dict[str, float]) -> None:
        try:
            self._mlflow.log_metrics(totals, run_id=self.id)
            self._mlflow.end_run(status)
        except self._exception as error:
            _warn(f"MLflow did not take the end of run {self.id}: {error}")

    def _after_refusal(self, what: str, error: Exception) -> None:
        """Go on in a new run if this one was deleted meanwhile; else only say what was refused."""
        try:
            if usable_run(self._client, self.id):
                _warn(f"MLflow did not take {what}: {error}")
                return
            with contextlib.suppress(self._exception):
                self._mlflow.end_run()
            self.id = self._open()
            self._send_all()
        except (self._exception, OpenCharacterError) as failure:
            _warn(f"MLflow did not take {what}: {failure}")

    def _open(self) -> str:
        id_file = self._job.folder / RUN_ID_NAME
        earlier = id_file.read_text(encoding="utf-8").strip() if id_file.is_file() else None
        parent = self._parent()
        run = self._continue(earlier, parent) if earlier else None
        self._is_new = run is None
        if run is None:
            run = self._start(parent, replaces=earlier)
        id_file.write_text(run.info.run_id, encoding="utf-8")
        if not run.data.params:
            self._describe(self._job)
        return str(run.info.run_id)

    def _parent(self) -> Any:
        """The run of the task, if this server has it."""
        if not self._task_run:
            return None
        found = usable_run(self._client, self._task_run)
        if found is None:
            _warn(
                f"{RUN_VARIABLE} names the run {self._task_run}, which MLflow at {os.environ[URI_VARIABLE]} does not "
                "know, or which is deleted there: the training's run is no child of it"
            )
        return found

    def _continue(self, run_id: str, parent: Any) -> Any:
        """The run of an earlier attempt, wherever its experiment is by now; none if it cannot be written to."""
        found = usable_run(self._client, run_id)
        if found is None:
            return None
        run = self._mlflow.start_run(run_id=run_id, log_system_metrics=False)
        if parent and parent.info.experiment_id == found.info.experiment_id:
            self._mlflow.set_tag(_PARENT_TAG, parent.info.run_id)
        return run

    def _start(self, parent: Any, *, replaces: str | None) -> Any:
        if parent:
            place = {"experiment_id": parent.info.experiment_id, "parent_run_id": parent.info.run_id}
        elif name := self._job.tracking.experiment:
            place = {"experiment_id": make_experiment(self._client, name)}
        else:
            place = {}
        tags = {REPLACES_TAG: replaces} if replaces else {}
        run = self._mlflow.start_run(run_name="sft", tags=tags, log_system_metrics=False, **place)
        if replaces:
            _warn(f"MLflow has no run {replaces}, or it is deleted: run {run.info.run_id} takes its place")
        return run

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


def _warn(message: str) -> None:
    Event(kind="warning", message=message).emit()

"""MLflow's runs and experiments as training and registry use them: bounded waiting, and what is deleted there."""

import os
from typing import TYPE_CHECKING

from opencharacter.errors import OpenCharacterError, UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

URI_VARIABLE = "MLFLOW_TRACKING_URI"
RUN_VARIABLE = "MLFLOW_RUN_ID"
"""The run of the task that this process belongs to: Kubeflow Pipelines' MLflow plugin sets it."""
REPLACES_TAG = "replaces_run"
"""Tag of a run that took the place of a deleted one."""

_DELETED = "deleted"
_BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_REFUSED = ("PERMISSION_DENIED", "UNAUTHENTICATED")


def bound_waiting() -> None:
    """Let MLflow give up soon: its own defaults wait for some minutes for a server that is not there."""
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)


def is_missing(error: Exception) -> bool:
    """Whether MLflow says that a run or model does not exist."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def explained(error: Exception, subject: str, hint: str) -> OpenCharacterError:
    """The error that says what MLflow answered; an account that is refused has words of its own."""
    words = str(error).strip().splitlines()[0][:300]
    if getattr(error, "error_code", None) in _REFUSED:
        return OpenCharacterError(
            f"{subject} refuses this account: {words}",
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to an account "
            "that may edit the experiment and the registered model",
        )
    return OpenCharacterError(f"{subject} failed: {words}", hint=hint)


def find_experiment(client: "MlflowClient", name: str) -> str | None:
    """The id of an experiment; none if there is none yet. Raises `UserError` if it is deleted."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == _DELETED:
        raise UserError(
            f"the MLflow experiment '{name}' (id {experiment.experiment_id}) is deleted, and its name is still taken",
            hint=f"restore it: mlflow experiments restore --experiment-id {experiment.experiment_id}, or name another: "
            "--set registry.experiment=NAME",
        )
    return str(experiment.experiment_id)


def make_experiment(client: "MlflowClient", name: str) -> str:
    """The id of an experiment, which is created if there is none. Raises `UserError` if it is deleted."""
    from mlflow.exceptions import MlflowException

    if found := find_experiment(client, name):
        return found
    try:
        return str(client.create_experiment(name))
    except MlflowException as error:
        if error.error_code == "RESOURCE_ALREADY_EXISTS" and (found := find_experiment(client, name)):
            return found
        raise


def usable_run(client: "MlflowClient", run_id: str) -> "Run | None":
    """The run, if it can be written to; none if the server does not know it, or it is deleted.

    A server takes artifacts and model versions of a deleted run without a word, so it is asked first.
    """
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if is_missing(error) or error.error_code == "INVALID_PARAMETER_VALUE":  # no run's id
            return None
        raise
    return None if run.info.lifecycle_stage == _DELETED else run

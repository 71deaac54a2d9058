"""The MLflow client, with bounded waiting and errors that say which server and what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opencharacter.errors import OpenCharacterError, UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"

# MLflow's own defaults wait for some minutes for a server that is not there.
_BOUNDS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


@contextmanager
def mlflow_client() -> Iterator["MlflowClient"]:
    """A client of the server that MLFLOW_TRACKING_URI names.

    Raises `UserError` if the variable is not set, `OpenCharacterError` if the server can't be reached or fails.
    """
    uri = os.environ.get(URI_VARIABLE)
    if not uri:
        raise UserError(
            f"no model registry: {URI_VARIABLE} is not set",
            hint=f"start a server (opencharacter mlflow) and set {URI_VARIABLE} to its address",
        )
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        raise OpenCharacterError(
            f"the model registry at {uri} failed: {_first_line(error)}",
            hint=f"is the server running? `opencharacter mlflow` starts one; {URI_VARIABLE} names it",
        ) from error


def is_missing(error: Exception) -> bool:
    """Whether MLflow says that a run or model does not exist."""
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException) and error.error_code == "RESOURCE_DOES_NOT_EXIST"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]

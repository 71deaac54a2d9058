"""The MLflow client, with bounded waiting and errors that say which server and what to do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opencharacter.errors import UserError
from opencharacter.tracking import URI_VARIABLE, bound_waiting, explained

if TYPE_CHECKING:
    from mlflow import MlflowClient


@contextmanager
def mlflow_client(uri: str | None = None) -> Iterator["MlflowClient"]:
    """A client of the server at `uri`, by default of the one that MLFLOW_TRACKING_URI names.

    Raises `UserError` if neither is set, `OpenCharacterError` if the server can't be reached, refuses the
    account or fails.
    """
    uri = uri or os.environ.get(URI_VARIABLE)
    if not uri:
        raise UserError(
            f"no model registry: {URI_VARIABLE} is not set",
            hint=f"start a server (opencharacter mlflow) and set {URI_VARIABLE} to its address",
        )
    bound_waiting()
    # Standard output belongs to the command, which may print JSON there.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        yield MlflowClient(tracking_uri=uri)
    except MlflowException as error:
        hint = f"is the server running? `opencharacter mlflow` starts one; {URI_VARIABLE} names it"
        raise explained(error, f"the model registry at {uri}", hint) from error

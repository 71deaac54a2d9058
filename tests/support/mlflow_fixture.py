"""One real MLflow server for the test session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opencharacter.registry import local_server


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_uri(mlflow_folder: Path) -> Iterator[str]:
    """The server's address, also in MLFLOW_TRACKING_URI while the session lasts."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    with local_server(mlflow_folder) as uri:
        os.environ["MLFLOW_TRACKING_URI"] = uri
        yield uri
    del os.environ["MLFLOW_TRACKING_URI"]
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before

"""A registry with a name of its own for each test, on one real server."""

from pathlib import Path

import pytest

from opencharacter.hashing import digest
from opencharacter.registry import RegistryConfig
from opencharacter.storage.workspace import Workspace


@pytest.fixture
def registry(mlflow_uri: str, request: pytest.FixtureRequest) -> RegistryConfig:
    return RegistryConfig(model_name=f"model-{digest(request.node.nodeid)[:12]}", experiment="tests")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")

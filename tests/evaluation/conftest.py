from pathlib import Path

import pytest
from support.small_mixture import make_mixture, small_rows
from support.tiny_llama import save_tiny_llama

from opencharacter.evaluation import EvaluateConfig
from opencharacter.storage.workspace import Artifact, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def mixture(workspace: Workspace) -> Artifact:
    return make_mixture(workspace, small_rows())


@pytest.fixture
def config() -> EvaluateConfig:
    return EvaluateConfig(rows_per_cell=4, train_rows=3, dtype="float32", batch_size=3)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny") / "base", seed=1)


@pytest.fixture(scope="session")
def other_tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny") / "tuned", seed=2)

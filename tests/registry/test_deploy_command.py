"""`opencharacter deploy`: from the registry to the cluster's API."""

import pytest
import yaml
from support.kubernetes_api import KubernetesApi
from support.registry_models import make_model

from opencharacter.cli import main
from opencharacter.registry import RegistryConfig, register
from opencharacter.registry.models import URI_TAG
from opencharacter.storage.workspace import Workspace


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["deploy", "--preset", "final", *arguments])
    streams = capsys.readouterr()
    return int(caught.value.code or 0), streams.out, streams.err


def test_a_dry_run_prints_what_would_be_applied(
    registry: RegistryConfig, workspace: Workspace, cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry, make_model(workspace, "weights"))
    model = f"models:/{registry.model_name}@challenger"
    code, out, _ = run("--model", model, "--dry-run", "--set", "deploy.gpus=2", capsys=capsys)
    assert code == 0
    manifest = yaml.safe_load(out)
    assert manifest["metadata"]["annotations"]["opencharacter.io/model-name"] == registry.model_name
    assert manifest["metadata"]["name"] == "opencharacter-final"
    assert manifest["spec"]["predictor"]["model"]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert not cluster.applied


def test_weights_of_a_laptop_are_not_applied(
    registry: RegistryConfig, workspace: Workspace, cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry, make_model(workspace, "weights"))
    code, _, err = run("--model", f"models:/{registry.model_name}@challenger", capsys=capsys)
    assert (code, "are on this machine" in err) == (2, True)
    assert not cluster.applied


def test_a_version_in_the_object_store_is_applied(
    registry: RegistryConfig, workspace: Workspace, cluster: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = "s3://bucket/outputs/model/ab/model"
    register(registry, make_model(workspace, "weights"), tags={URI_TAG: stored})
    code, out, _ = run("--model", f"models:/{registry.model_name}/1", capsys=capsys)
    assert code == 0
    assert "applied InferenceService opencharacter-final" in out
    assert cluster.applied[0][2]["spec"]["predictor"]["model"]["storageUri"] == stored

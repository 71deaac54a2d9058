"""`opencharacter deploy`: from the registry to the cluster's API."""

import json

import pytest
import yaml
from support.kserve_cluster import GOOD_ANSWER, KServeCluster
from support.kubernetes_api import KubernetesApi
from support.registry_models import make_model

from opencharacter.cli import main
from opencharacter.registry import RegistryConfig, register
from opencharacter.registry.registered_model import SMOKE_TAG, URI_TAG
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
    registry: RegistryConfig, workspace: Workspace, kserve: KServeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry, make_model(workspace, "weights"))
    code, _, err = run("--model", f"models:/{registry.model_name}@challenger", capsys=capsys)
    assert (code, "are on this machine" in err) == (2, True)
    assert not kserve.applied


def test_a_version_in_the_object_store_is_waited_for_and_asked_its_question(
    registry: RegistryConfig, workspace: Workspace, kserve: KServeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = "s3://bucket/outputs/model/ab/model"
    question = {"character": {"name": "Ilse"}, "question": "What keeps you awake?"}
    register(registry, make_model(workspace, "weights"), tags={URI_TAG: stored, SMOKE_TAG: json.dumps(question)})
    code, out, err = run("--model", f"models:/{registry.model_name}/1", capsys=capsys)
    assert code == 0
    assert "serves at http://opencharacter-final.play/openai/v1" in out
    assert GOOD_ANSWER in err
    assert kserve.service("opencharacter-final")["spec"]["predictor"]["model"]["storageUri"] == stored
    assert kserve.asked[0][1]["character"] == question["character"]
    assert kserve.asked[0][1]["messages"][0]["content"] == question["question"]


def test_what_is_not_waited_for_is_not_called_serving(
    registry: RegistryConfig, workspace: Workspace, kserve: KServeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry, make_model(workspace, "weights"), tags={URI_TAG: "s3://bucket/weights"})
    code, out, _ = run("--model", f"models:/{registry.model_name}/1", "--no-wait", capsys=capsys)
    assert (code, kserve.asked, kserve.pauses) == (0, [], 0)
    assert "serves" not in out
    assert "kubectl rollout status --namespace play deployment/opencharacter-final-predictor" in out


def test_a_version_that_never_gets_ready_fails_with_what_blocks_it(
    registry: RegistryConfig, workspace: Workspace, kserve: KServeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    register(registry, make_model(workspace, "weights"), tags={URI_TAG: "s3://bucket/weights"})
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: gpu"}
    kserve.obstacles["s3://bucket/weights"] = {"conditions": [unschedulable]}
    code, out, err = run("--model", f"models:/{registry.model_name}/1", "--timeout", "30", capsys=capsys)
    assert (code, "serves" in out) == (1, False)
    assert "not ready after 30 s" in err
    assert "Unschedulable: 0/1 nodes: gpu" in err

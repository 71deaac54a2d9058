from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from support import stand_in
from support.crds import crd_faults
from support.kserve_cluster import RUNTIME, KServeCluster
from support.kubernetes_api import KubernetesApi

from opencharacter.errors import UserError
from opencharacter.registry import RegisteredModel
from opencharacter.serving import DeployConfig, deploy
from opencharacter.storage.workspace import Workspace

MODEL = RegisteredModel(
    name="bard",
    version=3,
    uri="s3://bucket/outputs/model/ab/model",
    digest="d" * 64,
    tags={"prompt_hash": "e" * 64, "dataset_digest": "f" * 64, "gate": '{"passed": true}'},
)
CONFIG = DeployConfig(service_name="bard", namespace="play", gpus=2, memory="48Gi", max_model_len=4096)


def written(config: DeployConfig, model: RegisteredModel, tmp_path: Path) -> dict[str, Any]:
    ref = deploy(config, model, workspace=Workspace(tmp_path / "work"))
    return yaml.safe_load((ref.path / "inferenceservice.yaml").read_text())


def test_the_manifest_says_what_is_served_and_where_it_comes_from(tmp_path: Path) -> None:
    manifest = written(CONFIG, MODEL, tmp_path)
    model = manifest["spec"]["predictor"]["model"]
    assert model["modelFormat"] == {"name": "opencharacter", "version": "1"}
    assert model["protocolVersion"] == "v2", "KServe takes a missing one for v1, and selects no runtime"
    assert model["storageUri"] == MODEL.uri
    limits = {"memory": "48Gi", "nvidia.com/gpu": "2"}
    assert model["resources"] == {"requests": {"cpu": "4"} | limits, "limits": limits}
    assert model["args"] == ["--tensor-parallel-size=2", "--max-model-len=4096"]
    annotations = manifest["metadata"]["annotations"]
    assert annotations["opencharacter.io/model-version"] == "3"
    assert annotations["opencharacter.io/model-digest"] == MODEL.digest
    assert annotations["opencharacter.io/prompt-hash"] == "e" * 64
    assert (manifest["metadata"]["name"], manifest["metadata"]["namespace"]) == ("bard", "play")


def test_the_manifest_fits_kserves_schema(tmp_path: Path) -> None:
    waiting = DeployConfig(scale_on="waiting", max_replicas=4, prometheus_url="http://prometheus:9090")
    for config in (CONFIG, DeployConfig(gpus=0), waiting):
        manifest = written(config, MODEL, tmp_path)
        assert crd_faults(manifest) == []
    manifest["spec"]["predictor"]["model"]["modelFromat"] = {}
    assert crd_faults(manifest), "the check itself must see a misspelt field"


def test_the_pods_run_as_the_charts_account_and_fit_pod_security_restricted(tmp_path: Path) -> None:
    predictor = written(CONFIG, MODEL, tmp_path)["spec"]["predictor"]
    assert predictor["serviceAccountName"] == "opencharacter-serving"
    assert predictor["automountServiceAccountToken"] is False
    assert predictor["securityContext"]["runAsNonRoot"] is True
    assert predictor["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_scaling_is_by_cpu_or_by_the_engines_queue(tmp_path: Path) -> None:
    fixed = written(CONFIG, MODEL, tmp_path)
    assert fixed["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "none"
    assert [fixed["spec"]["predictor"][key] for key in ("minReplicas", "maxReplicas")] == [1, 1]
    by_cpu = written(CONFIG.model_copy(update={"max_replicas": 3}), MODEL, tmp_path)
    assert by_cpu["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "hpa"
    assert by_cpu["spec"]["predictor"]["scaleTarget"] == 80
    update = {"scale_on": "waiting", "min_replicas": 2, "max_replicas": 6, "prometheus_url": "http://prometheus:9090"}
    keda = written(DeployConfig(**CONFIG.model_dump() | update), MODEL, tmp_path)
    assert keda["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "keda"
    external = keda["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"]
    assert external["metric"]["query"] == 'sum(vllm:num_requests_waiting{namespace="play",model_name="bard"})'


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gpus": 3}, "0, 1, 2, 4 or 8"),
        ({"memory": "24 GB"}, "memory"),
        ({"min_replicas": 3, "max_replicas": 2}, "below min_replicas"),
        ({"scale_on": "waiting"}, "prometheus_url"),
        ({"service_name": "a" * 44}, "44 characters"),
        ({"service_name": "a" * 30, "namespace": "b" * 18}, "'b+' .18. is too long.*.64.*make it 1 shorter"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        DeployConfig(**settings)


def test_weights_of_this_machine_can_be_written_but_not_applied(tmp_path: Path) -> None:
    local = MODEL.model_copy(update={"uri": str(tmp_path / "a model")})
    assert (
        written(CONFIG, local, tmp_path)["spec"]["predictor"]["model"]["storageUri"] == f"file://{tmp_path}/a%20model"
    )
    with pytest.raises(UserError, match="on this machine"):
        written(CONFIG.model_copy(update={"apply": True}), local, tmp_path)


def test_applying_rolls_the_version_out(tmp_path: Path, kserve: KServeCluster) -> None:
    config = CONFIG.model_copy(update={"apply": True})
    manifest = written(config, MODEL, tmp_path)
    written(config, MODEL, tmp_path)
    assert [(kind, body) for kind, _, body in kserve.applied if kind == "inferenceservices"] == [
        ("inferenceservices", manifest)
    ] * 2
    assert kserve.models_behind("bard") == {MODEL.uri}


def test_a_cluster_without_kserve_is_told_from_one_that_refuses(tmp_path: Path, cluster: KubernetesApi) -> None:
    cluster.objects["/apis/serving.kserve.io/v1alpha1/namespaces/play/servingruntimes"] = {"items": [RUNTIME]}
    cluster.refuse = 404
    with pytest.raises(UserError, match="apply inferenceservices in namespace play") as caught:
        written(CONFIG.model_copy(update={"apply": True}), MODEL, tmp_path)
    assert "KServe 0.20" in (caught.value.hint or "")


def test_without_a_cluster_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="no cluster"):
        written(CONFIG.model_copy(update={"apply": True}), MODEL, tmp_path)


def test_without_a_namespace_it_goes_where_the_pipeline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.use_kubeconfig("http://127.0.0.1:9", tmp_path, monkeypatch, "team")
    config = CONFIG.model_copy(
        update={
            "namespace": None,
            "max_replicas": 2,
            "scale_on": "waiting",
            "prometheus_url": "http://prometheus:9090",
        }
    )
    manifest = written(config, MODEL, tmp_path)
    assert manifest["metadata"]["namespace"] == "team"
    assert 'namespace="team"' in str(manifest["spec"]["predictor"]["autoScaling"])

"""The settings of a TrainJob, which travel in the sft step's environment."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import resolve_steps
from opencharacter.pipelines.trainjob import trainjob_environment
from opencharacter.templates import OVERRIDE_VARIABLE
from opencharacter.training import SftConfig
from opencharacter.training.trainjob import TRAINJOB_VARIABLE, TrainJobSettings

CLUSTER: dict[str, Any] = {
    "name": "pool",
    "namespace": "team",
    "images": {"registry": "registry.example.com/oc", "tag": "1.2.3", "pull_secrets": ["registry"]},
    "env": {"AWS_ENDPOINT_URL": "https://s3"},
    "secrets": [
        {"secret": "opencharacter-s3", "keys": {"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"}},
        {
            "secret": "opencharacter-teacher",
            "keys": {"OPENAI_API_KEY": "OPENAI_API_KEY"},
            "steps": ["generate-dialogues"],
        },
    ],
    "prompts_config_map": "prompts",
    "scratch_storage_class": "fast",
    "spot": {"node_selector": {"spot": "yes"}, "tolerations": [{"key": "spot", "operator": "Exists"}]},
    "trainer": {"runtime": "torch-gpu", "runtime_kind": "TrainingRuntime"},
    "defaults": {"cpu": "2", "cpu_limit": "8", "memory": "64Gi", "node_selector": {"zone": "a"}},
    "steps": {
        "sft": {
            "nodes": 2,
            "accelerator": {"type": "amd.com/gpu", "count": 8},
            "shm": "32Gi",
            "scratch": "500Gi",
            "queue": "gpus",
            "spot": True,
            "retries": {"count": 3},
            "affinity": [{"key": "net", "values": ["rdma"]}, {"key": "new", "operator": "Exists", "weight": 5}],
        }
    },
}


def environment(cluster: Cluster, processes: int) -> dict[str, str]:
    training = SftConfig(base_model="m", processes=processes, global_batch_size=48)
    step = replace(resolve_steps(None, cluster)["sft"], training=training)
    return trainjob_environment(step, cluster)


def _cluster(**sft: Any) -> Cluster:
    steps = {"sft": CLUSTER["steps"]["sft"] | sft}
    return Cluster.model_validate(CLUSTER | {"steps": steps})


def test_all_that_the_cluster_says_about_sft_reaches_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(OVERRIDE_VARIABLE, str(tmp_path))
    monkeypatch.setenv(TRAINJOB_VARIABLE, environment(_cluster(), 16)[TRAINJOB_VARIABLE])
    settings = TrainJobSettings.from_environment()
    assert settings is not None
    assert (settings.nodes, settings.gpus_per_node, settings.gpu_resource) == (2, 8, "amd.com/gpu")
    assert settings.image == "registry.example.com/oc/training:1.2.3"
    assert (settings.runtime, settings.runtime_kind) == ("torch-gpu", "TrainingRuntime")
    assert (settings.cpu, settings.cpu_limit, settings.memory) == ("2", "8", "64Gi")
    assert (settings.shm, settings.scratch) == ("32Gi", "500Gi")
    assert settings.node_selector == {"zone": "a", "spot": "yes"}
    assert settings.tolerations == [{"key": "spot", "operator": "Exists"}]
    assert settings.affinity == {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "net", "operator": "In", "values": ["rdma"]}]}]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 5, "preference": {"matchExpressions": [{"key": "new", "operator": "Exists"}]}}
            ],
        }
    }
    assert [(secret.secret, secret.name) for secret in settings.secrets] == [("opencharacter-s3", "AWS_ACCESS_KEY_ID")]
    assert (settings.queue, settings.prompts_config_map, settings.scratch_storage_class) == ("gpus", "prompts", "fast")


def test_prompts_are_mounted_only_where_they_are_overridden() -> None:
    told = json.loads(environment(_cluster(), 16)[TRAINJOB_VARIABLE])
    assert "prompts_config_map" not in told


def test_a_secret_that_may_be_absent_stays_so() -> None:
    secrets = [{"secret": "hub", "keys": {"HF_TOKEN": "HF_TOKEN"}, "optional": True}]
    cluster = _cluster().model_copy(update={"secrets": Cluster(name="x", secrets=secrets).secrets})  # type: ignore[arg-type]
    told = json.loads(environment(cluster, 16)[TRAINJOB_VARIABLE])
    assert told["secrets"] == [{"name": "HF_TOKEN", "secret": "hub", "key": "HF_TOKEN", "optional": True}]


def test_a_digest_goes_before_the_tag() -> None:
    digest = "sha256:" + "a" * 64
    images = CLUSTER["images"] | {"digests": {"training": digest}}
    cluster = Cluster.model_validate(CLUSTER | {"images": images})
    told = json.loads(environment(cluster, 16)[TRAINJOB_VARIABLE])
    assert told["image"] == f"registry.example.com/oc/training@{digest}"


def test_one_node_is_trained_on_by_the_steps_own_pod() -> None:
    assert environment(_cluster(nodes=1), 8) == {}

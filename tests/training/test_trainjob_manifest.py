"""The TrainJob as Kubeflow Trainer, Kueue and Pod Security will read it."""

import json
import re
from typing import Any

import pytest
from support.crds import crd_faults, crd_fields
from support.kueue import TRAINER_2_2, dropped
from support.pod_security import violations

from opencharacter.errors import UserError
from opencharacter.storage.workspace import Artifact
from opencharacter.training import SftConfig
from opencharacter.training.job import NodeArguments
from opencharacter.training.trainjob import TRAINJOB_VARIABLE, SecretVariable, TrainJobSettings
from opencharacter.training.trainjob.manifest import SPEC_ANNOTATION, train_job

KEY = "0123456789abcdef" * 4
FULL = TrainJobSettings(
    image="registry.example.com/oc/training:1",
    nodes=2,
    gpus_per_node=8,
    cpu="32",
    memory="400Gi",
    shm="64Gi",
    scratch="1Ti",
    scratch_storage_class="fast",
    node_selector={"pool": "h100"},
    tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    affinity={
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
            }
        }
    },
    queue="gpus",
    priority="high",
    env={"MLFLOW_TRACKING_URI": "http://mlflow"},
    secrets=[SecretVariable(name="AWS_SECRET_ACCESS_KEY", secret="opencharacter-s3", key="AWS_SECRET_ACCESS_KEY")],
    prompts_config_map="prompts",
    pull_secrets=["registry"],
    service_account="trainer",
)
SMALL = TrainJobSettings(image="training:1", nodes=2)
OWNER = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "run-1", "uid": "u1"}


def _arguments(processes: int = 16, base_model: str = "org/model") -> NodeArguments:
    return NodeArguments(
        config=SftConfig(base_model=base_model, processes=processes, global_batch_size=32),
        mixture=Artifact(kind="mixture", key="m", uri="s3://bucket/outputs/mixture/m", digest="d"),
        workspace="s3://bucket/run",
        seed=1,
        experiment="characters",
        key=KEY,
    )


def _pod(job: dict[str, Any]) -> dict[str, Any]:
    """The pod as the runtime's JobSet will have it: Trainer's `trainer` section over the patched template."""
    jobs = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert [each["name"] for each in jobs] == ["node"]
    return jobs[0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("settings", [FULL, SMALL], ids=["full", "small"])
def test_the_crd_accepts_it_and_a_restricted_namespace_does(settings: TrainJobSettings) -> None:
    job = train_job(settings, _arguments(), "team", OWNER)
    assert crd_faults(job) == []
    pod = _pod(job)
    assert violations(pod) == []
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 65532
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", job["metadata"]["name"])


@pytest.mark.parametrize("settings", [FULL, SMALL], ids=["full", "small"])
def test_kueue_writes_it_back_as_it_was(settings: TrainJobSettings) -> None:
    """A field that Kueue's copy of Trainer's API does not have is dropped, and then JobSet never starts the pods."""
    assert dropped(train_job(settings, _arguments(), "team", OWNER)) == []


def test_a_field_that_kueue_does_not_know_would_keep_the_pods_from_starting() -> None:
    """The fault, put back."""
    job = train_job(FULL, _arguments(), "team", OWNER)
    for patch in job["spec"]["runtimePatches"]:
        for each in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            each["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 60
    assert [path.rpartition(".")[2] for path in dropped(job)] == ["terminationGracePeriodSeconds"]


def test_the_list_of_what_kueue_knows_is_of_fields_that_there_are() -> None:
    def check(known: dict[str, Any] | None, there: dict[str, Any], path: str) -> None:
        for name, inner in (known or {}).items():
            assert name in there, f"{path}.{name}"
            check(inner, there[name], f"{path}.{name}")

    check(TRAINER_2_2, crd_fields("trainer.kubeflow.org", "v1alpha1", "TrainJob"), "")


def test_every_node_is_started_with_all_that_the_step_was_asked_for() -> None:
    job = train_job(FULL, _arguments(base_model="/models/$(HOME)/x"), "team", OWNER)
    trainer = job["spec"]["trainer"]
    assert (trainer["image"], trainer["numNodes"], trainer["numProcPerNode"]) == (FULL.image, 2, 8)
    given = {"memory": "400Gi", "nvidia.com/gpu": "8"}
    assert trainer["resourcesPerNode"] == {"requests": {"cpu": "32"} | given, "limits": given}
    limited = train_job(FULL.model_copy(update={"cpu_limit": "48"}), _arguments(), "team", OWNER)
    assert limited["spec"]["trainer"]["resourcesPerNode"]["limits"] == {"cpu": "48"} | given
    assert trainer["command"] == ["python", "-m", "opencharacter.training.node"]
    expanded = trainer["args"][0].replace("$$(", "$(")  # as Kubernetes does
    assert NodeArguments.model_validate_json(expanded) == _arguments(base_model="/models/$(HOME)/x")
    assert "$(HOME)" not in trainer["args"][0].replace("$$(HOME)", "")

    env = {each["name"]: each for each in trainer["env"]}
    assert env["MLFLOW_TRACKING_URI"]["value"] == "http://mlflow"
    assert env["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "opencharacter-s3"
    assert env["OPENCHARACTER_GPUS"]["value"] == "8"
    assert TRAINJOB_VARIABLE not in env
    assert not any(name.startswith("PET_") for name in env), "Trainer refuses its own variables"


def test_placement_and_writable_folders_reach_the_pods() -> None:
    pod = _pod(train_job(FULL, _arguments(), "team", OWNER))
    assert (pod["nodeSelector"], pod["tolerations"]) == (FULL.node_selector, FULL.tolerations)
    assert pod["affinity"] == FULL.affinity
    assert pod["serviceAccountName"] == "trainer"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts.keys() == {"/tmp", "/var/opencharacter", "/dev/shm", "/etc/opencharacter/prompts"}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Gi"}
    claim = volumes["work"]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "1Ti")


def test_kueue_and_the_garbage_collector_find_their_marks() -> None:
    metadata = train_job(FULL, _arguments(), "team", OWNER)["metadata"]
    assert metadata["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert metadata["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    assert metadata["ownerReferences"] == [OWNER]
    assert "kueue.x-k8s.io/queue-name" not in train_job(SMALL, _arguments(), "team", None)["metadata"]["labels"]


def test_a_retry_makes_the_same_job_and_other_settings_another_digest() -> None:
    first, again = train_job(FULL, _arguments(), "team", OWNER), train_job(FULL, _arguments(), "team", None)
    assert first["metadata"]["name"] == again["metadata"]["name"]
    digests = [job["metadata"]["annotations"][SPEC_ANNOTATION] for job in (first, again)]
    assert digests[0] == digests[1]
    other = train_job(FULL.model_copy(update={"queue": "slow"}), _arguments(), "team", OWNER)
    assert other["metadata"]["annotations"][SPEC_ANNOTATION] != digests[0]


def test_the_task_s_mlflow_run_reaches_the_nodes_and_makes_no_other_job() -> None:
    plain, tracked = (train_job(FULL, _arguments(), "team", OWNER, task_run=run) for run in (None, "4f1c"))
    assert {"name": "MLFLOW_RUN_ID", "value": "4f1c"} in tracked["spec"]["trainer"]["env"]
    assert tracked["metadata"] == plain["metadata"]


@pytest.mark.parametrize("processes", [8, 32])
def test_processes_that_are_not_one_a_gpu_are_refused(processes: int) -> None:
    with pytest.raises(UserError, match=f"sft.processes is {processes}.*2 nodes with 8 GPU") as refused:
        train_job(FULL, _arguments(processes), "team", None)
    assert "16" in (refused.value.hint or "")


def test_settings_come_back_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRAINJOB_VARIABLE, raising=False)
    assert TrainJobSettings.from_environment() is None
    monkeypatch.setenv(TRAINJOB_VARIABLE, FULL.model_dump_json(exclude_defaults=True))
    assert TrainJobSettings.from_environment() == FULL
    monkeypatch.setenv(TRAINJOB_VARIABLE, json.dumps({"nodes": 2, "gpus": 8}))
    with pytest.raises(UserError, match=r"(?s)OPENCHARACTER_TRAINJOB.*gpus"):
        TrainJobSettings.from_environment()

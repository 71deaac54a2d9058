"""What a cluster lacks for a run."""

from typing import Any

import pytest

from opencharacter.cluster.checks import Lack, find_lacks
from opencharacter.cluster.spec import Cluster
from opencharacter.config.loading import load_run_config

ENV = {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
SECRETS = [
    {"secret": "hub", "keys": {"HF_TOKEN": "HF_TOKEN"}},
    {"secret": "teacher", "keys": {"OPENAI_API_KEY": "OPENAI_API_KEY"}},
    {"secret": "s3", "keys": {"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"}},
]
POOL = {"accelerator": {"count": 4}, "shm": "8Gi"}
STEPS = {
    "generate-profiles": POOL,
    "generate-dialogues": POOL,
    "evaluate": {"accelerator": {"count": 1}},
    "sft": {"accelerator": {"count": 8}, "shm": "64Gi"},
}


def lacks(*, preset: str = "final", steps: dict[str, Any] | None = None, **cluster: Any) -> list[Lack]:
    whole = {"name": "lab", "env": ENV, "secrets": SECRETS, "steps": STEPS | (steps or {})} | cluster
    return find_lacks(load_run_config(preset=preset), Cluster.model_validate(whole))


def test_a_cluster_that_fits_lacks_nothing() -> None:
    assert lacks() == []


@pytest.mark.parametrize(
    ("steps", "key", "impossible"),
    [
        ({"sft": {}}, "steps.sft.accelerator.count", False),
        ({"sft": POOL}, "steps.sft.accelerator.count", True),
        ({"sft": {"accelerator": {"count": 16}, "shm": "8Gi"}}, "run: sft.processes", False),
        ({"sft": {**POOL, "nodes": 2}}, "steps.sft.queue", False),
        ({"evaluate": {"shm": "1Gi"}}, "steps.evaluate.accelerator.count", False),
        ({"generate-dialogues": {}}, "steps.generate-dialogues.accelerator.count", True),
        (
            {"generate-dialogues": {"accelerator": {"count": 2}, "shm": "8Gi"}},
            "steps.generate-dialogues.accelerator.count",
            True,
        ),
        ({"generate-dialogues": {"accelerator": {"count": 4}}}, "steps.generate-dialogues.shm", False),
    ],
)
def test_what_a_step_lacks_names_the_key(steps: dict[str, Any], key: str, impossible: bool) -> None:
    [lack] = lacks(steps=steps)
    assert (lack.key, lack.impossible) == (key, impossible)
    assert lack.step in steps


def test_gpus_that_only_wait_for_an_api_are_told() -> None:
    found = lacks(preset="a1")
    assert {(lack.step, lack.key) for lack in found} == {
        ("generate-profiles", "steps.generate-profiles.accelerator"),
        ("generate-dialogues", "steps.generate-dialogues.accelerator"),
    }
    assert lacks(preset="a1", steps={"generate-profiles": {}, "generate-dialogues": {}}) == []


def test_gpus_of_all_nodes_count() -> None:
    assert lacks(steps={"sft": {**POOL, "nodes": 2, "queue": "gpus"}}) == []


def test_spot_needs_retries() -> None:
    nodes = {"node_selector": {"pool": "spot"}}
    [lack] = lacks(steps={"generate-dialogues": {**POOL, "spot": True}}, spot=nodes)
    assert lack.key == "steps.generate-dialogues.retries.count"
    assert lacks(steps={"generate-dialogues": {**POOL, "spot": True, "retries": {"count": 3}}}, spot=nodes) == []


def test_a_secret_counts_for_the_steps_that_it_names() -> None:
    elsewhere = [*SECRETS[:1], {**SECRETS[1], "steps": ["generate-profiles"]}, SECRETS[2]]
    [lack] = lacks(secrets=elsewhere)
    assert (lack.step, lack.key, lack.impossible) == ("evaluate", "secrets", True)
    assert "OPENAI_API_KEY" in lack.message


def test_gated_weights_and_data_need_a_token() -> None:
    found = lacks(secrets=SECRETS[1:])
    assert {lack.step for lack in found} == {
        "ingest",
        "generate-profiles",
        "generate-dialogues",
        "mix",
        "sft",
        "evaluate",
    }
    assert not any(lack.impossible for lack in found)


def test_registry_and_object_store() -> None:
    found = lacks(env={}, secrets=SECRETS[:2])
    assert [(lack.step, lack.key) for lack in found] == [
        ("get-champion", "env.MLFLOW_TRACKING_URI"),
        ("register", "env.MLFLOW_TRACKING_URI"),
        ("promote", "env.MLFLOW_TRACKING_URI"),
        (None, "secrets"),
    ]


def test_vllm_on_a_cpu_needs_room_in_dev_shm() -> None:
    def short(shm: str | None) -> dict[str | None, str]:
        found = lacks(preset="demo", steps={step: {"shm": shm} for step in STEPS})
        return {lack.step: lack.message for lack in found if lack.key.endswith(".shm")}

    assert short("1Gi") == short("241Mi") == {}
    assert set(short(None)) == set(short("240Mi")) == {"generate-profiles", "generate-dialogues", "evaluate"}
    assert "vLLM on a CPU needs 241 MiB of /dev/shm; 240Mi are asked for" in short("240Mi")["evaluate"]


def test_the_demo_on_cpus_lacks_gpus_for_nothing_but_speed() -> None:
    """float32 is what a CPU does anyway; served weights are told."""
    found = lacks(preset="demo", steps={step: {} for step in STEPS})
    assert {lack.step for lack in found if lack.step} == {"generate-profiles", "generate-dialogues", "evaluate"}
    packaged = ["engines.judge.weights", "engines.teacher.weights", "sft.base_model"]
    assert sorted(lack.key for lack in found if not lack.step) == [f"run: {key}" for key in packaged]
    assert not any(lack.impossible for lack in found)


def test_a_service_whose_names_would_be_too_long_in_the_clusters_namespace_is_refused() -> None:
    config = load_run_config(preset="final", overrides=["deploy.apply=true", f"deploy.service_name={'s' * 40}"])
    here = {"name": "lab", "env": ENV, "secrets": SECRETS, "steps": STEPS}
    [lack] = find_lacks(config, Cluster.model_validate(here | {"namespace": "a-team-of-people"}))
    assert (lack.key, lack.impossible) == ("run: deploy.service_name", True)
    assert "make it 9 shorter" in lack.message
    assert find_lacks(config, Cluster.model_validate(here | {"namespace": "ateam"})) == []

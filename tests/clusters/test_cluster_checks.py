"""A run checked against a cluster file."""

from collections.abc import Sequence
from typing import Any

import pytest

from opencharacter.cluster.checks import Issue, check_compatibility
from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import resolve_steps
from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig

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


def check(config: RunConfig, cluster: dict[str, Any]) -> list[Issue]:
    lab = Cluster.model_validate(cluster)
    return check_compatibility(config, lab, resolve_steps(config, lab))


def issues(
    *, preset: str = "final", overrides: Sequence[str] = (), steps: dict[str, Any] | None = None, **cluster: Any
) -> list[Issue]:
    whole = {"name": "lab", "env": ENV, "secrets": SECRETS, "steps": STEPS | (steps or {})} | cluster
    return check(load_run_config(preset=preset, overrides=overrides), whole)


def test_a_cluster_that_fits_lacks_nothing() -> None:
    assert issues() == []


@pytest.mark.parametrize(
    ("steps", "key", "fatal"),
    [
        ({"sft": {}}, "steps.sft.accelerator.count", False),
        ({"sft": POOL}, "steps.sft.accelerator.count", True),
        ({"sft": {"accelerator": {"count": 16}, "shm": "8Gi"}}, "run: sft.processes", False),
        ({"sft": {**POOL, "nodes": 2}}, "steps.sft.queue", False),
        ({"sft": {"nodes": 3, "queue": "gpus"}}, "run: sft.processes", True),
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
def test_what_a_step_lacks_names_the_key(steps: dict[str, Any], key: str, fatal: bool) -> None:
    [issue] = issues(steps=steps)
    assert (issue.subject, issue.fatal) == (key, fatal)
    assert issue.step in steps


def test_gpus_that_only_wait_for_an_api_are_told() -> None:
    api_only = ["profiles.teacher=teacher"]
    found = issues(preset="a1", overrides=api_only)
    assert {(issue.step, issue.subject) for issue in found} == {
        ("generate-profiles", "steps.generate-profiles.accelerator"),
        ("generate-dialogues", "steps.generate-dialogues.accelerator"),
    }
    assert issues(preset="a1", overrides=api_only, steps={"generate-profiles": {}, "generate-dialogues": {}}) == []
    assert {issue.step for issue in issues(preset="a1")} == {"generate-dialogues"}, "profiles have weights of their own"


def test_gpus_of_all_nodes_count() -> None:
    assert issues(steps={"sft": {**POOL, "nodes": 2, "queue": "gpus"}}) == []


def test_spot_needs_retries() -> None:
    nodes = {"node_selector": {"pool": "spot"}}
    [issue] = issues(steps={"generate-dialogues": {**POOL, "spot": True}}, spot=nodes)
    assert issue.subject == "steps.generate-dialogues.retries.count"
    assert issues(steps={"generate-dialogues": {**POOL, "spot": True, "retries": {"count": 3}}}, spot=nodes) == []


def test_a_secret_counts_for_the_steps_that_it_names() -> None:
    elsewhere = [*SECRETS[:1], {**SECRETS[1], "steps": ["generate-profiles"]}, SECRETS[2]]
    [issue] = issues(secrets=elsewhere)
    assert (issue.step, issue.subject, issue.fatal) == ("evaluate", "secrets", True)
    assert "OPENAI_API_KEY" in issue.message


def test_gated_weights_and_data_need_a_token() -> None:
    found = issues(secrets=SECRETS[1:])
    assert {issue.step for issue in found} == {
        "ingest",
        "generate-profiles",
        "generate-dialogues",
        "mix",
        "sft",
        "evaluate",
    }
    assert not any(issue.fatal for issue in found)


def test_registry_and_object_store() -> None:
    found = issues(env={}, secrets=SECRETS[:2])
    assert [(issue.step, issue.subject) for issue in found] == [
        ("get-champion", "env.MLFLOW_TRACKING_URI"),
        ("register", "env.MLFLOW_TRACKING_URI"),
        ("gate", "env.MLFLOW_TRACKING_URI"),
        ("promote", "env.MLFLOW_TRACKING_URI"),
        (None, "secrets"),
    ]


def test_vllm_on_a_cpu_needs_room_in_dev_shm() -> None:
    def short(shm: str | None) -> dict[str | None, str]:
        found = issues(preset="demo", steps={step: {"shm": shm} for step in STEPS})
        return {issue.step: issue.message for issue in found if issue.subject.endswith(".shm")}

    assert short("1Gi") == short("241Mi") == {}
    assert set(short(None)) == set(short("240Mi")) == {"generate-profiles", "generate-dialogues", "evaluate"}
    assert "vLLM on a CPU needs 241 MiB of /dev/shm; 240Mi are asked for" in short("240Mi")["evaluate"]


def test_the_demo_on_cpus_lacks_gpus_for_nothing_but_speed() -> None:
    """float32 is what a CPU does anyway; served weights are told."""
    found = issues(preset="demo", steps={step: {} for step in STEPS})
    assert {issue.step for issue in found if issue.step} == {"generate-profiles", "generate-dialogues", "evaluate"}
    packaged = ["engines.judge.weights", "engines.teacher.weights", "sft.base_model"]
    assert sorted(issue.subject for issue in found if not issue.step) == [f"run: {key}" for key in packaged]
    assert not any(issue.fatal for issue in found)


def test_a_service_whose_names_would_be_too_long_in_the_clusters_namespace_is_refused() -> None:
    config = load_run_config(preset="final", overrides=["deploy.apply=true", f"deploy.service_name={'s' * 40}"])
    here = {"name": "lab", "env": ENV, "secrets": SECRETS, "steps": STEPS}
    [issue] = check(config, here | {"namespace": "a-team-of-people"})
    assert (issue.subject, issue.fatal) == ("run: deploy.service_name", True)
    assert "make it 9 shorter" in issue.message
    assert check(config, here | {"namespace": "ateam"}) == []

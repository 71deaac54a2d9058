"""What is too small in a cluster for the models of a run."""

from typing import Any

import pytest

from opencharacter.cluster.spec import Cluster
from opencharacter.config.loading import load_run_config
from opencharacter.planning import Plan, load_figures, make_plan

ROOM = {"memory": "1000Gi", "scratch": "1000Gi", "shm": "8Gi"}
STEPS: dict[str, Any] = {
    "generate-profiles": {**ROOM, "accelerator": {"count": 4}},
    "generate-dialogues": {**ROOM, "accelerator": {"count": 4}},
    "sft": {**ROOM, "accelerator": {"count": 8}},
    "evaluate": {**ROOM, "accelerator": {"count": 1}},
}
SECRETS = [{"secret": "all", "keys": {name: name for name in ("HF_TOKEN", "OPENAI_API_KEY", "AWS_ACCESS_KEY_ID")}}]


def plan(preset: str, *overrides: str, **steps: dict[str, Any]) -> Plan:
    cluster = Cluster.model_validate(
        {
            "name": "lab",
            "env": {"MLFLOW_TRACKING_URI": "http://mlflow:5000"},
            "secrets": SECRETS,
            "steps": STEPS | {step: STEPS.get(step, {}) | changed for step, changed in steps.items()},
        }
    )
    return make_plan(load_run_config(preset=preset, overrides=overrides), cluster, load_figures())


def keys(made: Plan) -> set[tuple[str | None, str]]:
    return {(issue.step, issue.subject) for issue in made.issues}


def test_a_cluster_with_room_lacks_nothing() -> None:
    assert plan("final").issues == []


@pytest.mark.parametrize(
    ("step", "changed", "key"),
    [
        ("generate-dialogues", {"scratch": "100Gi"}, "steps.generate-dialogues.scratch"),
        ("sft", {"scratch": "200Gi"}, "steps.sft.scratch"),
        ("evaluate", {"scratch": "20Gi"}, "steps.evaluate.scratch"),
        ("mix", {"scratch": "1Gi"}, "steps.mix.scratch"),
        ("evaluate", {"accelerator": None, "memory": "16Gi"}, "steps.evaluate.memory"),
        ("sft", {"accelerator": None, "memory": "64Gi"}, "steps.sft.memory"),
    ],
)
def test_what_is_too_small_is_named(step: str, changed: dict[str, Any], key: str) -> None:
    assert (step, key) in keys(plan("final", **{step: changed}))


def test_a_model_that_no_gpu_holds_is_told() -> None:
    assert keys(plan("final", "engines.teacher.tensor_parallel=1")) >= {
        ("generate-dialogues", "run: engines.teacher.tensor_parallel"),
        ("generate-profiles", "run: engines.teacher.tensor_parallel"),
    }
    single = plan("final", "sft.processes=1", sft={"accelerator": {"count": 1}})
    assert ("sft", "steps.sft.accelerator.count") in keys(single)
    adapter = plan("final", "sft.processes=1", "sft.lora={rank: 16}", sft={"accelerator": {"count": 1}})
    assert keys(adapter) == set()


@pytest.mark.parametrize(
    ("overrides", "gpus", "full"),
    [
        # 8 H100 with an 8B model: some 2,000 requests under way.
        (("engines.teacher.weights=meta-llama/Llama-3-8B", "engines.teacher.tensor_parallel=1"), 8, 2048),
        (("engines.teacher.tensor_parallel=4",), 8, 512),
        (("engines.teacher.tensor_parallel=4",), 4, 256),
    ],
)
def test_few_requests_at_once_leave_gpus_idle(overrides: tuple[str, ...], gpus: int, full: int) -> None:
    def issues(concurrency: int) -> list[str]:
        dialogues = {"generate-dialogues": {"accelerator": {"count": gpus}}}
        made = plan("final", *overrides, f"engines.teacher.concurrency={concurrency}", **dialogues)
        key = ("generate-dialogues", "run: engines.teacher.concurrency")
        return [issue.message for issue in made.issues if (issue.step, issue.subject) == key]

    [message] = issues(full - 1)
    assert f"some {full:,} fill them" in message
    assert issues(full) == []


def test_a_small_gpu_is_full_with_the_requests_that_its_memory_holds() -> None:
    [message] = [
        issue.message
        for issue in plan(
            "final",
            "engines.teacher={model: llama-8b, weights: llama-8b, concurrency: 16}",
            **{"generate-dialogues": {"accelerator": {"count": 1}, "node_selector": {"gpu": "NVIDIA-L4"}}},
        ).issues
        if issue.subject == "run: engines.teacher.concurrency" and issue.step == "generate-dialogues"
    ]
    assert "1 L4 with llama-8b (1 copy)" in message
    assert 30 < int(message.split("some ")[1].split(" fill")[0]) < 60


def test_what_cannot_run_comes_first() -> None:
    made = plan("final", sft={"accelerator": {"count": 4}}, **{"generate-dialogues": {"scratch": "1Gi"}})
    assert made.issues[0].fatal
    assert not made.issues[-1].fatal


def test_nodes_share_the_training() -> None:
    one, two = plan("final"), plan("final", sft={"accelerator": {"count": 4}, "nodes": 2, "queue": "gpus"})
    [whole], [shared] = ([stage for stage in made.stages if stage.step == "sft"] for made in (one, two))
    assert (shared.where.pods, shared.where.gpus) == (2, 4)
    assert shared.hours == pytest.approx(whole.hours)
    assert shared.gpu_hours == pytest.approx(whole.gpu_hours)
    here, there = (next(item.bytes for item in made.storage if item.place == "scratch of sft") for made in (one, two))
    # 14 bytes a parameter, twice, of which the second node takes half.
    assert here - there == pytest.approx(8e9 * 14, rel=0.01)

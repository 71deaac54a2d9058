"""The memory of the training's pods against what training takes: plan, check and compile say the same."""

from typing import Any

import pytest

from opencharacter.cluster.loading import load_cluster
from opencharacter.cluster.spec import Cluster
from opencharacter.cluster.steps import Step, resolve_steps
from opencharacter.config.loading import load_run_config
from opencharacter.config.run import RunConfig
from opencharacter.errors import UserError
from opencharacter.pipelines.compile import check_placement, find_issues
from opencharacter.planning import load_figures, make_plan
from opencharacter.planning.capacity import estimated_memory, training_memory
from opencharacter.planning.figures import Assumptions

GIB = 2**30


def cpu(**sft: Any) -> Cluster:
    cluster = load_cluster("cpu")
    steps = cluster.steps | {"sft": cluster.steps["sft"].model_copy(update=sft)}
    return cluster.model_copy(update={"steps": steps})


def demo(*overrides: str) -> RunConfig:
    small = ("sft.base_model=HuggingFaceTB/SmolLM2-135M-Instruct",)
    weights = ("engines.teacher.weights=org/m", "engines.judge.weights=org/m")
    return load_run_config(preset="demo", overrides=[*small, *weights, *overrides])


def step(config: RunConfig) -> Step:
    return resolve_steps(config, cpu())["sft"]


def memory_issue(config: RunConfig, cluster: Cluster) -> bool | None:
    """Whether too little memory is fatal; none if it is enough."""
    return next((issue.fatal for issue in find_issues(config, cluster) if issue.subject == "steps.sft.memory"), None)


@pytest.mark.parametrize(("memory", "fatal"), [("1536Mi", True), ("4Gi", False), ("7Gi", None)])
def test_what_was_killed_is_told_and_what_went_well_is_not(memory: str, fatal: bool | None) -> None:
    """On a cluster, the demo's training was killed at 4 GiB and went through with 7."""
    assert memory_issue(demo(), cpu(memory=memory)) is fatal


def test_the_estimate_is_near_what_was_measured() -> None:
    measured = {  # peak of anonymous and shared memory, GiB, of all processes; SmolLM2-135M, rows longer than the limit
        (): 5.5,
        ("sft.max_length=512", "sft.global_batch_size=1"): 3.6,
        ("sft.global_batch_size=1",): 4.93,
        ("sft.gradient_checkpointing=true", "sft.global_batch_size=1"): 3.71,
    }
    for overrides, peak in measured.items():
        found = training_memory(step(demo(*overrides)), Assumptions(load_figures()))
        assert peak < found.expected / GIB < peak * 1.3, overrides
        assert found.least / GIB < peak, overrides


def test_plan_check_and_compile_say_the_same() -> None:
    config, cluster = load_run_config(preset="demo"), cpu(memory="1536Mi")
    assert any(
        issue.subject == "steps.sft.memory" and issue.fatal
        for issue in make_plan(config, cluster, load_figures()).issues
    )
    with pytest.raises(UserError, match=r"steps\.sft\.memory: step sft: 1536Mi of memory, but weights, gradients and"):
        check_placement(demo(), cluster)
    check_placement(demo(), cpu(memory="4Gi"))


def test_processes_of_one_pod_add_up_and_nodes_do_not() -> None:
    two = demo("sft.processes=2")
    assert memory_issue(two, cpu(memory="7Gi")) is False
    assert memory_issue(two, cpu(memory="7Gi", nodes=2)) is None


def test_a_model_of_unknown_size_is_not_judged() -> None:
    config = demo("sft.base_model=org/model")
    assert memory_issue(config, cpu(memory="1536Mi")) is None
    assert estimated_memory(step(config)) is None


def test_with_gpus_the_host_needs_little_and_nothing_is_sure() -> None:
    config = load_run_config(preset="final")
    assert memory_issue(config, load_cluster("node8")) is None
    small = load_cluster("node8", ["steps.sft.memory=40Gi", "steps.sft.shm=1Gi"])
    assert memory_issue(config, small) is False


def test_a_train_job_is_given_the_estimate_for_its_messages() -> None:
    assert estimated_memory(step(demo())) == "7Gi"

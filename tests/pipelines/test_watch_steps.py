"""What each step of a run is doing, of the entries that KFP's API has."""

from pathlib import Path
from typing import Any

import pytest
from support.kfp_run import Run

from opencharacter.config.loading import load_run_config
from opencharacter.pipelines.compile import compile_pipeline, read_ir
from opencharacter.pipelines.watch.steps import Step, steps_of


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path: Path = tmp_path_factory.mktemp("spec") / "pipeline.yaml"
    return read_ir(compile_pipeline(load_run_config(preset="demo"), path))[0]


def states(run: Run) -> dict[str, str]:
    return {step.label: step.state for step in steps_of(run.told)}


def step(run: Run, label: str) -> Step:
    return next(step for step in steps_of(run.told) if step.label == label)


def test_all_steps_are_shown_from_the_start_in_the_pipeline_s_order(spec: dict[str, Any]) -> None:
    order = list(states(Run(spec=spec)))
    assert set(order) == {
        *(
            "ingest",
            "generate-profiles",
            "collect-profiles",
            "generate-dialogues",
            "collect-dialogues",
            "mix",
            "sft",
            "get-champion",
            "evaluate",
        ),
        *("register", "gate", "report", "promote", "deploy"),
    }
    assert (
        order.index("ingest") < order.index("generate-profiles") < order.index("collect-dialogues") < order.index("sft")
    )
    assert order.index("evaluate") < order.index("register") < order.index("report")
    assert set(states(Run(spec=spec)).values()) == {"waiting"}


@pytest.mark.parametrize(
    ("made", "state"),
    [
        ({"state": "", "driver": "RUNNING"}, "waiting"),
        ({"state": "", "driver": "FAILED"}, "failed"),
        ({"state": "RUNNING", "executor": ""}, "waiting"),
        ({"state": "RUNNING", "executor": "PENDING"}, "waiting"),
        ({"state": "RUNNING", "executor": "RUNNING"}, "running"),
        ({"state": "RUNNING", "executor": "RUNNING", "attempts": ("FAILED", "RUNNING")}, "running"),
        ({"state": "RUNNING", "executor": "RUNNING", "attempts": ("FAILED",)}, "waiting"),
        ({"state": "SUCCEEDED", "executor": "SKIPPED"}, "cached"),
        ({"state": "SUCCEEDED"}, "succeeded"),
        ({"state": "FAILED"}, "failed"),
        ({"state": "SKIPPED"}, "skipped"),
        ({"state": "RUNTIME_STATE_UNSPECIFIED"}, "waiting"),
        ({"state": "CANCELED", "executor": "CANCELED"}, "cancelled"),
    ],
)
def test_a_step_s_state_is_its_nodes_and_its_pod_s(spec: dict[str, Any], made: dict[str, Any], state: str) -> None:
    run = Run(spec=spec)
    run.step("ingest", **made)
    assert states(run)["ingest"] == state


def test_the_pod_is_the_last_attempt_s(spec: dict[str, Any]) -> None:
    run = Run(spec=spec)
    last = run.step("ingest", "SUCCEEDED")
    run.step("sft", "RUNNING", attempts=("FAILED",) * 10 + ("RUNNING",), after=last)
    found = step(run, "sft")
    assert (found.pod, found.attempt) == (run.pod("sft.executor(10)"), 11)
    assert (step(run, "ingest").pod, step(run, "ingest").seconds) == (run.pod("ingest.executor"), 65)


def test_a_driver_that_failed_is_the_pod_to_look_at(spec: dict[str, Any]) -> None:
    run = Run(spec=spec)
    run.step("ingest", "", driver="FAILED")
    assert step(run, "ingest").pod == run.pod("ingest-driver")


def test_each_shard_is_a_step_of_its_own(spec: dict[str, Any]) -> None:
    """What follows a loop hangs from the loop's last pods, and is none of its shards."""
    run = Run(spec=spec)
    last = run.step("ingest")
    ends = []
    for number, (path, body) in reversed(list(enumerate(run.loop("profile-shards", 3, after=last)))):
        ends += run.step("generate-profiles", "RUNNING" if number == 1 else "SUCCEEDED", path=path, after=body)
    run.step("collect-profiles", "RUNNING", after=ends)
    found = states(run)
    assert [label for label in found if label.startswith("generate-prof")] == [
        "generate-profiles[0]",
        "generate-profiles[1]",
        "generate-profiles[2]",
    ]
    assert [found[f"generate-profiles[{number}]"] for number in range(3)] == ["succeeded", "running", "succeeded"]
    assert found["collect-profiles"] == "running"


def test_entries_without_a_name_and_second_entries_change_nothing(spec: dict[str, Any]) -> None:
    run = Run(spec=spec)
    last = run.step("ingest")
    run.step("mix", "RUNNING", after=last)
    for stale in ("RUNNING", "PENDING"):
        run.double("ingest", stale)
        run.double("ingest.executor", stale)
    assert (states(run)["ingest"], states(run)["mix"]) == ("succeeded", "running")
    assert len(states(run)) == 14


@pytest.mark.parametrize(
    ("ended", "state"), [("SUCCEEDED", "succeeded"), ("FAILED", "unknown"), ("CANCELED", "cancelled")]
)
def test_no_step_runs_on_after_the_run(spec: dict[str, Any], ended: str, state: str) -> None:
    run = Run(spec=spec, state=ended)
    run.step("ingest", "RUNNING")
    run.step("mix", "RUNTIME_STATE_UNSPECIFIED")
    found = states(run)
    assert (found["ingest"], found["mix"], found["deploy"]) == (state, "skipped", "skipped")


def test_a_branch_s_driver_that_failed_is_shown(spec: dict[str, Any]) -> None:
    run = Run(spec=spec, state="FAILED")
    run.stray("promotion-driver", "FAILED", after=run.step("gate"))
    assert states(run)["promotion-driver"] == "failed"


def test_a_run_that_does_not_tell_its_pipeline_shows_what_has_begun() -> None:
    run = Run()
    last = run.step("ingest")
    run.step("mix", "RUNNING", after=last)
    assert states(run) == {"ingest": "succeeded", "mix": "running"}
    assert steps_of({"run_id": "r", "state": "PENDING"}) == []

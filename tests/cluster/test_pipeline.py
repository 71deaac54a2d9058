"""The long run, from personas to a deployed champion, and the same run again."""

import pytest
from support.acceptance import workflows
from support.acceptance.logs import progress_of
from support.acceptance.recipe import HEAVY_STEPS, SHARDS
from support.acceptance.releases import Release
from support.acceptance.suite import Run, Suite

from opencharacter.storage import Workspace

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")

_RUN_S = 1400.0


@pytest.fixture(scope="module")
def ended(first_run: Run) -> Run:
    """The long run, once it is over."""
    first_run.until_over(seconds=_RUN_S)
    return first_run


@pytest.fixture(scope="module")
def green(ended: Run) -> Run:
    """The long run, if it went well."""
    assert workflows.phase(ended.workflow) == "Succeeded", ended.failed()
    return ended


def test_green(suite: Suite, green: Run) -> None:
    """The compiled pipeline goes green from end to end."""
    steps = {"get-champion", "evaluate", "register", "gate", "report"}
    assert workflows.steps_that_ran(green.workflow or {}) >= HEAVY_STEPS | steps
    suite.deadline.until("KFP says SUCCEEDED, too", lambda: suite.kfp_state(green) == "SUCCEEDED", seconds=90)


def test_loops(ended: Run, workspace: str) -> None:
    """ParallelFor: each shard has a pod, and each its own share of the rows."""
    for step, kind in (("generate-profiles", "profiles_rows"), ("generate-dialogues", "responses_rows")):
        good = [node for node in ended.attempts(step) if node["phase"] == "Succeeded"]
        assert len(good) == SHARDS, f"{step}: {len(good)} pods"
        assert len(Workspace(workspace).list(kind)) == SHARDS


def test_vllm(ended: Run, workspace: str) -> None:
    """Synthesis asks a vLLM that its own pod has started."""
    [characters] = Workspace(workspace).list("characters")
    assert characters.counts["ok"] > 0, characters.counts
    tokens = [
        line["tokens"] for pod in ended.pods("generate-profiles") for line in progress_of(ended.log(pod), "profiles")
    ]
    assert max(tokens, default=0) > 0, "no progress line with tokens in the logs of profiles"


def test_deepspeed(ended: Run, workspace: str) -> None:
    """sft trains in one pod, two processes under DeepSpeed."""
    [model] = Workspace(workspace).list("model")
    assert model.stats["world_size"] == 2, model.stats
    assert model.stats["steps"] == 12, model.stats


def test_metadata(green: Run, workspace: str) -> None:
    """What is registered comes through ML Metadata unchanged: the report reads it."""
    [report] = Workspace(workspace).list("report")
    registered = report.stats["run"]["registered"]
    assert registered["name"] == green.suite.id
    assert registered["version"] == 1
    assert {"prompt_hash", "dataset_digest", "base_model"} <= set(registered["tags"]), registered["tags"]


def test_promotion(suite: Suite, green: Run, release: Release, workspace: str) -> None:
    """The gate passes, the run makes its model the champion, and deploys it."""
    [report] = Workspace(workspace).list("report")
    decision = report.stats["run"]["decision"]
    assert decision["passed"], f"the gate refuses: {decision['reason']}"
    assert workflows.steps_that_ran(green.workflow or {}) >= {"promote", "deploy"}
    assert Workspace(workspace).list("deployment"), "the run has deployed nothing"
    environment = {"MLFLOW_TRACKING_URI": release.local_mlflow}
    told = suite.opencharacter("models", "--model", suite.id, environment=environment).expect()
    assert "champion" in told.out, told.said

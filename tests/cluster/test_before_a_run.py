"""What is looked at before a run is sent."""

from pathlib import Path

import pytest
from support.acceptance.kube import WORKFLOWS
from support.acceptance.suite import Run, Suite

pytestmark = pytest.mark.needs("cluster", "images", "store")


def test_preflight(suite: Suite, cluster: Path, workspace: str) -> None:
    """cluster preflight finds everything that the cluster file names."""
    done = suite.opencharacter("cluster", "preflight", "--cluster", str(cluster), "--bucket", workspace).expect()
    assert "\nmissing" not in f"\n{done.out}", done.said
    assert "Secret" in done.out, done.said


def test_preflight_misses(suite: Suite, cluster: Path) -> None:
    """cluster preflight ends with exit code 2 and the command to type, where a Secret is missing."""
    absent = f"{suite.id}-absent"
    done = suite.opencharacter("cluster", "preflight", "--cluster", str(cluster), "--secret", f"{absent}:KEY").expect(2)
    assert f"kubectl create secret generic {absent} --namespace {suite.namespace}" in done.out, done.said


def test_dry_run(suite: Suite, cluster: Path, settings: list[str], workspace: str) -> None:
    """submit --dry-run checks and shows the pods, and sends nothing."""
    words = [word for setting in settings for word in ("--set", setting)]
    named = ("--preset", "demo", "--cluster", str(cluster), "--workspace", workspace)
    done = suite.opencharacter("pipeline", "submit", *named, *words, "--dry-run").expect()
    assert "nothing was sent" in done.out, done.said
    workflows = [each["metadata"]["name"] for each in suite.kube.find(WORKFLOWS.format(suite.namespace))]
    assert not [name for name in workflows if suite.id in name]


def test_missing_secret(suite: Suite, cluster: Path, settings: list[str], workspace: str) -> None:
    """submit refuses a run whose Secret is not in the cluster, before anything is sent."""
    absent = f"{suite.id}-absent"
    words = [word for setting in settings for word in ("--set", setting)]
    named = ("--preset", "demo", "--cluster", str(cluster), "--workspace", workspace)
    over = ("--cluster-set", f"secrets.0.secret={absent}", "--host", "http://127.0.0.1:9")
    done = suite.opencharacter("pipeline", "submit", *named, *words, *over).expect(2)
    assert absent in done.said


@pytest.mark.needs("pipelines")
def test_submission(first_run: Run) -> None:
    """submit sends the run and prints its page."""
    assert first_run.id in first_run.submitted.out
    assert "http" in first_run.submitted.out
    first_run.suite.deadline.until("the run has a Workflow", lambda: first_run.workflow, seconds=60)

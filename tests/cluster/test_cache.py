"""The long run again."""

import pytest
from support.acceptance import workflows
from support.acceptance.recipe import HEAVY_STEPS
from support.acceptance.suite import Run

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")


def test_cache(second_run: Run) -> None:
    """The second submission takes every heavy step from KFP's cache."""
    assert second_run.until_over(seconds=600) == "Succeeded", second_run.failed()
    repeated = workflows.steps_that_ran(second_run.workflow or {}) & HEAVY_STEPS
    assert not repeated, f"made again: {', '.join(sorted(repeated))}"

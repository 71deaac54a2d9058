"""Tags, parameters and metrics by which the leaderboard finds what was published."""

import re

KIND_TAG = "opencharacter.kind"
GROUP, SCORES = "evaluation", "scores"
"""Values of `KIND_TAG`: the run of a suite, and one nested in it for each model and judge."""
EVALUATION_TAG = "opencharacter.evaluation"
"""Digest of the output of kind `evaluation`."""
NO_JUDGE = "none"
"""The judge of suites that no judge measures."""
OVERALL = "all"
"""The task that stands for all of a suite's."""
LOWER = "lower_is_better"
"""Parameter: whether less is better in `OVERALL`."""

_NOT_IN_NAMES = re.compile(r"[^\w .:-]+")


def metric_name(suite: str, task: str, figure: str) -> str:
    """The name of a metric; MLflow takes letters, digits and a few signs."""
    return "/".join(_NOT_IN_NAMES.sub("_", part) for part in (suite, task, figure))

"""The promotion gate: does the challenger beat the champion, or, where there is none, the base model?"""

from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

from opencharacter.evaluation.evaluation_config import Dimension, GateConfig
from opencharacter.evaluation.summary import bootstrap, paired
from opencharacter.records.evaluation import GRID, GateDecision
from opencharacter.records.models import HELD_OUT_CELLS
from opencharacter.storage.kinds import SCORES, SUMMARY, suite_of
from opencharacter.storage.workspace import Artifact

_JUDGED = get_args(Dimension)


def gate(config: GateConfig, evaluations: Sequence[Artifact]) -> GateDecision:
    """Decide by a paired bootstrap over the held-out questions that both models have a score for.

    The challenger passes if the whole interval of its mean difference lies on the better side of zero: below for
    loss, above for the profile-swap gap and the judge's scores (mean over dimensions). It does not pass on fewer than
    `min_questions`. If its weights are the champion's it passes without a comparison, since there is nothing to
    change, so that a repeated run ends as the first one did.
    """
    [evaluation] = [one for one in evaluations if suite_of(one) == GRID]
    models = SUMMARY.read(evaluation).models
    challenger, champion = models["challenger"], models.get("champion")
    against: Literal["base", "champion"] = "base" if champion is None else "champion"
    decide = partial(
        GateDecision,
        metric=config.metric,
        against=against,
        confidence=config.confidence,
        challenger_digest=challenger,
        champion_digest=champion,
    )
    if challenger == champion:
        return decide(passed=True, n=0, reason="the challenger is the champion already")
    metrics = _JUDGED if config.metric == "judge" else (config.metric,)
    rows = SCORES.read(evaluation)
    held_out = [row for row in rows if row.metric in metrics and row.cell in HELD_OUT_CELLS]
    differences = paired(held_out, challenger, models[against])
    estimate = bootstrap(differences, confidence=config.confidence, resamples=config.resamples)
    name = config.metric.replace("_", " ")
    if estimate.n < config.min_questions or estimate.low is None or estimate.high is None:
        reason = (
            f"{estimate.n} held-out questions have a {name} of both models; at least {config.min_questions} are needed"
        )
        return decide(passed=False, n=estimate.n, difference=estimate.mean, reason=reason)
    passed = estimate.high < 0 if config.metric == "loss" else estimate.low > 0
    reason = (
        f"{name} {estimate.mean:+.4f} against {against} ({config.confidence:.0%} interval {estimate.low:+.4f} to"
        f" {estimate.high:+.4f}, {estimate.n} held-out questions): {_describe(passed, config.metric)}"
    )
    return decide(
        passed=passed,
        n=estimate.n,
        difference=estimate.mean,
        interval=(estimate.low, estimate.high),
        reason=reason,
    )


def _describe(passed: bool, metric: str) -> str:
    better = "lower" if metric == "loss" else "higher"
    return f"{better}, as required" if passed else f"not {better} with confidence"

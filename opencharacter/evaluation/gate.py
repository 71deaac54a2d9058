"""The promotion gate: does the challenger beat the champion, or, where there is none, the base model?"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from opencharacter.evaluation.evaluation_config import Dimension, GateConfig
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import GRID, GateDecision, ScoreRow
from opencharacter.records.models import HELD_OUT_CELLS
from opencharacter.storage.kinds import SCORES, SUMMARY, suite_of
from opencharacter.storage.workspace import Artifact

if TYPE_CHECKING:
    import numpy as np

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


def paired(rows: Iterable[ScoreRow], challenger: str, other: str) -> list[float]:
    """Challenger minus the other (digests of weights), one number per question that both have a score for.

    Over several metrics (the judge's dimensions) it is the mean over those that both have a score for.
    """
    scores: dict[str, dict[tuple[str, str], float]] = {challenger: {}, other: {}}
    for row in rows:
        if row.model in scores and row.score is not None:
            scores[row.model][row.question_id, row.metric] = row.score
    differences: dict[str, list[float]] = defaultdict(list)
    for key, score in sorted(scores[challenger].items()):
        if key in scores[other]:
            differences[key[0]].append(score - scores[other][key])
    return [sum(values) / len(values) for values in differences.values()]


_BLOCK = 1 << 22  # drawn numbers held in memory at once


class Estimate(NamedTuple):
    """A mean over `n` values and its interval; the mean is none for no values, the interval for fewer than two."""

    n: int
    mean: float | None
    low: float | None
    high: float | None


def bootstrap(values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000) -> Estimate:
    """The mean and its two-sided bootstrap interval. For a paired comparison give the pairs' differences.

    Seeded by the values themselves: the same values have the same interval.
    """
    import numpy as np

    if len(values) == 0:
        return Estimate(0, None, None, None)
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(values) == 1:
        return Estimate(1, mean, None, None)
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled_means(numbers, resamples), [tail, 1 - tail])
    return Estimate(len(values), mean, float(low), float(high))


def _resampled_means(numbers: "np.ndarray", resamples: int) -> "np.ndarray":
    import numpy as np

    count = len(numbers)
    generator = np.random.default_rng(seed64("bootstrap", numbers.tolist(), resamples))
    rows = max(1, _BLOCK // count)
    blocks = [
        numbers[generator.integers(0, count, (min(rows, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(blocks)

"""From rows to means, intervals and paired differences. Rows without a score are counted, and are in no mean."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from opencharacter.evaluation.questions import CELLS
from opencharacter.hashing import seed64
from opencharacter.records.evaluation import Difference, Score, ScoreRow, Summary
from opencharacter.records.models import HELD_OUT_CELLS, Cell

if TYPE_CHECKING:
    import numpy as np


CONFIDENCE = 0.95
Group = Cell | Literal["held_out"]

_GROUPS: dict[Group, tuple[Cell, ...]] = {cell: (cell,) for cell in CELLS} | {"held_out": HELD_OUT_CELLS}


def summarise(rows: Sequence[ScoreRow], models: Mapping[str, str]) -> Summary:
    """Scores of each role, cell and metric, and the challenger's difference from the others."""
    scores: list[Score] = []
    differences: list[Difference] = []
    for metric in dict.fromkeys(row.metric for row in rows):
        measured = [row for row in rows if row.metric == metric]
        for group, cells in _GROUPS.items():
            inside = [row for row in measured if row.cell in cells]
            for role, weights in models.items():
                if found := [row for row in inside if row.model == weights]:
                    scores.append(_score(role, group, metric, found))
                if (
                    role != "challenger"
                    and "challenger" in models
                    and (pairs := paired(inside, models["challenger"], weights))
                ):
                    differences.append(_difference(role, group, metric, pairs))
    judge = next((row.judge for row in rows if row.judge), None)
    return Summary(models=dict(models), judge=judge, confidence=CONFIDENCE, scores=scores, differences=differences)


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


def _difference(against: str, group: Group, metric: str, pairs: list[float]) -> Difference:
    estimate = bootstrap(pairs, confidence=CONFIDENCE)
    return Difference(
        against=against,
        cell=group,
        metric=metric,
        n=estimate.n,
        difference=estimate.mean,
        low=estimate.low,
        high=estimate.high,
    )


def _score(role: str, group: Group, metric: str, rows: list[ScoreRow]) -> Score:
    estimate = bootstrap([row.score for row in rows if row.score is not None], confidence=CONFIDENCE)
    return Score(
        model=role,
        cell=group,
        metric=metric,
        n=estimate.n,
        mean=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        failures=dict(sorted(Counter(row.status for row in rows if row.status != "ok").items())),
    )


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

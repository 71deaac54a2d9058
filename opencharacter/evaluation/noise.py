"""How much scores vary, from measurements: what a plan's smallest effect rests on."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from opencharacter.evaluation.statistics import Components, Level, variance_components
from opencharacter.records.evaluation import ScoreRow, Scoring

if TYPE_CHECKING:
    pass

_Key = tuple[str, str, int, str]


def score_components(rows: Iterable[ScoreRow], scoring: Scoring, *, fewest: int) -> Components | None:
    """Variance components of one model's score, as far as they matter to a comparison.

    Where two models were measured, half of those of their difference, in which the difficulty of a question cancels.
    Only metrics with two ends count.

    Args:
        rows: The score rows of one suite.
        scoring: The suite's scales and its unit.
        fewest: With fewer units (characters, say) nothing is estimated.

    Returns:
        The components; none where there are too few units, or all scores are equal.
    """
    import numpy as np

    scores: dict[str, dict[_Key, float]] = defaultdict(dict)
    units: dict[str, str] = {}
    for row in rows:
        scale = scoring.scale(row.metric)
        if row.score is None or scale.low is None or scale.high is None:
            continue
        scores[row.model][row.question_id, row.metric, row.repeat, row.judge or ""] = row.score
        units[row.question_id] = _unit(row, scoring)
    if not scores:
        return None
    first, *others = scores.values()
    values = {key: score - others[0][key] for key, score in first.items() if key in others[0]} if others else first
    if len({units[question] for question, *_ in values}) < fewest:
        return None
    keys = list(values)
    numbers = np.array([values[key] for key in keys])
    metrics = np.unique([metric for _, metric, _, _ in keys], return_inverse=True)[1]
    # The mean of a task is in no component: every comparison is within tasks.
    numbers = numbers - (np.bincount(metrics, numbers) / np.bincount(metrics))[metrics]
    levels: dict[Level, np.ndarray] = {
        "character": np.array([units[question] for question, *_ in keys]),
        "item": np.array([f"{question}\t{metric}" for question, metric, *_ in keys]),
        "answer": np.array([repeat for _, _, repeat, _ in keys]),
        "judge": np.array([judge for *_, judge in keys]),
    }
    found = variance_components(numbers, levels)
    if not any((found.character, found.item, found.answer, found.judge)):
        return None
    return found.scaled(0.5) if others else found


def _unit(row: ScoreRow, scoring: Scoring) -> str:
    name = scoring.unit if scoring.unit == "question_id" or getattr(row, scoring.unit) else "session_id"
    return str(getattr(row, name))

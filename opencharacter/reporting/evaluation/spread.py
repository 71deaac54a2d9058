"""How scores are spread: over the scale, by length of the answer, by turn, and by where the variance comes from."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from opencharacter.records.evaluation import MODEL_FAILURES
from opencharacter.reporting import charts
from opencharacter.reporting.evaluation.rows import SuiteRows
from opencharacter.reporting.formats import words

_STEPS = 7
"""Most values of a scale that is drawn as bars."""
_BINS = 8
_LEVEL_NAMES = {
    "character": "characters",
    "item": "questions of a character",
    "answer": "answers to a question",
    "judge": "judgements of an answer",
}


@dataclass(frozen=True)
class ScoreBar:
    """How one model's scores of a task are spread over the scale."""

    model: str
    mean: float
    shares: list[tuple[str, float]]
    """Each step of the scale, and its share."""
    best: float
    """Share at the best score of the scale."""
    failed: int
    n: int


@dataclass(frozen=True)
class TaskBars:
    """The bars of a task, one for each model."""

    label: str
    bars: list[ScoreBar]


def score_bars(suite: SuiteRows) -> list[TaskBars]:
    """The scores of each task with a scale of a few steps, before judges are averaged, without failed answers."""
    found: list[TaskBars] = []
    for metric in suite.metrics:
        rows = [row for row in suite.scores if row.metric == metric]
        steps = sorted({row.score for row in rows if row.score is not None})
        if metric not in suite.rated or not steps or len(steps) > _STEPS:
            continue
        scale = suite.summary.scoring.scale(metric)
        best = scale.low if scale.lower_is_better else scale.high
        bars = []
        for name, identity in suite.models.items():
            mine = [row for row in rows if row.model == identity]
            values = [row.score for row in mine if row.score is not None]
            if not values:
                continue
            counts = Counter(values)
            bars.append(
                ScoreBar(
                    model=name,
                    mean=sum(values) / len(values),
                    shares=[(f"{step:g}", counts[step] / len(values)) for step in steps],
                    best=sum(score == best for score in values) / len(values),
                    failed=sum(row.status in MODEL_FAILURES for row in mine),
                    n=len(values),
                )
            )
        found.append(TaskBars(words(metric), bars))
    return found


def histograms(suite: SuiteRows, anchor: str) -> list[tuple[str, str]]:
    """Title and chart of each measure with a continuous scale."""
    drawn: list[tuple[str, str]] = []
    for metric in suite.metrics:
        if metric in suite.rated and len({row.score for row in suite.scores if row.metric == metric}) <= _STEPS + 1:
            continue
        values = {
            name: [measured.score for key, measured in found.items() if key[0] == metric and not measured.failed]
            for name, found in suite.by_model.items()
        }
        if present := {name: numbers for name, numbers in values.items() if numbers}:
            title = words(metric)
            drawn.append((title, charts.histogram(f"{anchor}-spread-{len(drawn)}", title, title, present)))
    return drawn


def length_chart(suite: SuiteRows, anchor: str) -> str | None:
    """Mean score by length of the answer, in groups of equal size."""
    series = {}
    for name, found in suite.by_model.items():
        points = []
        for (metric, question), measured in found.items():
            answer = suite.answer_of.get((name, question))
            if metric in suite.averaged and answer is not None and answer.answer and not measured.failed:
                points.append((float(len(answer.answer.split())), measured.score))
        if len(points) >= 2 * _BINS and len({length for length, _ in points}) > 1:
            series[name] = _binned(points)
    if not series:
        return None
    title = "Judged score by length of the answer"
    return charts.trends(f"{anchor}-length", title, "words in the answer", "mean score", series, logarithmic=True)


def drift_chart(suite: SuiteRows, anchor: str) -> str | None:
    """Mean judged score by turn of the conversation, where each turn is judged."""
    series = {}
    for name, identity in suite.models.items():
        by_turn: dict[int, list[float]] = defaultdict(list)
        for row in suite.judgements:
            if row.model == identity and row.turn is not None and row.score is not None:
                by_turn[row.turn].append(row.score)
        if len(by_turn) > 1:
            series[name] = [(float(turn), charts.mean_band(scores)) for turn, scores in sorted(by_turn.items())]
    if not series:
        return None
    return charts.trends(f"{anchor}-drift", "Judged score by turn of the conversation", "turn", "mean score", series)


@dataclass(frozen=True)
class VarianceBar:
    """Where the variance of a judged score comes from, and what the next calls are best spent on."""

    parts: list[tuple[str, float]]
    error: float
    advice: str


def variance_bar(suite: SuiteRows) -> VarianceBar | None:
    """Components of the challenger's judged scores; none with fewer than two characters."""
    import numpy as np

    from opencharacter.evaluation.statistics import LEVELS, Design, Level, best_next_calls, variance_components

    identity = suite.models.get("challenger")
    rows = [
        row
        for row in suite.scores
        if row.model == identity and row.metric in suite.averaged and row.score is not None and row.character_id
    ]
    characters = len({row.character_id for row in rows})
    if characters < 2 or len(rows) < 2 * characters:
        return None
    levels: dict[Level, np.ndarray] = {
        "character": np.array([row.character_id for row in rows]),
        "item": np.array([f"{row.question_id} {row.metric}" for row in rows]),
        "answer": np.array([row.repeat for row in rows]),
        "judge": np.array([row.judge or "" for row in rows]),
    }
    components = variance_components(np.array([row.score for row in rows], dtype=float), levels)
    measured = {level: part for level in LEVELS if (part := getattr(components, level)) is not None}
    total = sum(measured.values())
    if not total:
        return None
    items = len({(row.question_id, row.metric) for row in rows})
    answers = len({(row.question_id, row.metric, row.repeat) for row in rows})
    design = Design(characters, items / characters, answers / items, len(rows) / answers)
    error = components.error(design)
    best, smaller = next(iter(best_next_calls(design, components).items()))
    advice = f"1 000 more judge calls help most on more {best}: the standard error falls to {smaller:.3f}."
    return VarianceBar([(_LEVEL_NAMES[level], part / total) for level, part in measured.items()], error, advice)


def _binned(points: list[tuple[float, float]]) -> list[tuple[float, charts.Estimate]]:
    ordered = sorted(points)
    size = math.ceil(len(ordered) / _BINS)
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    return [
        (
            math.exp(sum(math.log(length) for length, _ in group) / len(group)),
            charts.mean_band([score for _, score in group]),
        )
        for group in groups
    ]

"""From rows to means, differences and their intervals, for people to read. The gate computes its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from opencharacter.evaluation.comparison import Sample, paired_sample, sample_of
from opencharacter.evaluation.grid import CELLS
from opencharacter.records.evaluation import Difference, Scale, Score, ScoreRow, Scoring, Summary
from opencharacter.records.models import HELD_OUT_CELLS, Cell

CONFIDENCE = 0.95

Group = Cell | Literal["held_out", "all"]
_GRID_GROUPS: dict[Group, tuple[str, ...]] = {**{cell: (cell,) for cell in CELLS}, "held_out": HELD_OUT_CELLS}
ALL_TASKS = "all tasks"
_ONE_GROUP: dict[Group, tuple[str, ...]] = {"all": ("",)}


def summarise(
    rows: Sequence[ScoreRow],
    models: Mapping[str, str],
    scoring: Scoring | None = None,
    *,
    challenger: str = "challenger",
    overall: str = ALL_TASKS,
) -> Summary:
    """Scores of each model, cell and metric, and the challenger's difference from the others.

    Args:
        rows: All rows of one suite.
        models: Identity of each model by role or name.
        scoring: The suite's scales, units and clusters; by default those of the suite `grid`.
        challenger: The name whose difference from the others is taken; without such a name there are no differences.
        overall: What the mean over all tasks is called.
    """
    scoring = scoring or Scoring()
    scores: list[Score] = []
    differences: list[Difference] = []
    for metric in dict.fromkeys(row.metric for row in rows):
        measured = [row for row in rows if row.metric == metric]
        groups = _GRID_GROUPS if any(row.cell for row in measured) else _ONE_GROUP
        for name, identity in models.items():
            own = [row for row in measured if row.model == identity]
            sample = sample_of(measured, identity, scoring)
            for group, cells in groups.items():
                if found := [row for row in own if (row.cell or "") in cells]:
                    scores.append(_score(name, group, metric, sample.where(cells=cells), found))
            if name != challenger and challenger in models:
                pairs = paired_sample(measured, models[challenger], identity, scoring)
                differences += [
                    difference
                    for group, cells in groups.items()
                    if (difference := _difference(name, group, metric, pairs.where(cells=cells))).n
                ]
    together: list[Score] = []
    metrics = [name for name in dict.fromkeys(row.metric for row in rows) if _rises(scoring.scale(name))]
    if len(metrics) > 1 and len({scoring.scale(name) for name in metrics}) == 1:
        rated = [row for row in rows if row.metric in metrics]
        groups = _GRID_GROUPS if any(row.cell for row in rated) else _ONE_GROUP
        for name, identity in models.items():
            sample = sample_of(rated, identity, scoring)
            for group, cells in groups.items():
                if found := [row for row in rated if row.model == identity and (row.cell or "") in cells]:
                    together.append(_score(name, group, overall, sample.where(cells=cells), found))
    judge = next((row.judge for row in rows if row.judge), None)
    return Summary(
        models=dict(models),
        judge=judge,
        confidence=CONFIDENCE,
        scores=scores,
        overall=together,
        differences=differences,
        scoring=scoring,
    )


def _rises(scale: Scale) -> bool:
    """Whether scores have a lowest one, and more is better."""
    return scale.low is not None and not scale.lower_is_better


def _score(model: str, group: Group, metric: str, sample: Sample, rows: list[ScoreRow]) -> Score:
    estimate = sample.estimate()
    low, high = (estimate and estimate.interval(CONFIDENCE)) or (None, None)
    return Score(
        model=model,
        cell=group,
        metric=metric,
        n=sample.n,
        mean=estimate.mean if estimate else None,
        low=low,
        high=high,
        failures=dict(sorted(Counter(row.status for row in rows if row.status != "ok").items())),
        clusters=estimate.clusters if estimate else None,
    )


def _difference(against: str, group: Group, metric: str, sample: Sample) -> Difference:
    estimate = sample.estimate()
    low, high = (estimate and estimate.interval(CONFIDENCE)) or (None, None)
    return Difference(
        against=against,
        cell=group,
        metric=metric,
        n=sample.n,
        difference=estimate.mean if estimate else None,
        low=low,
        high=high,
        clusters=estimate.clusters if estimate else None,
        p=estimate.p() if estimate else None,
    )

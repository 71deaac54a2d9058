"""From score rows to a sample that can be averaged: what each row counts for, and what weight it has.

A model's own failure is the worst score. What a judge or an engine failed to give is left out for both models. Repeats
are averaged first, then judges; rows that R and G made of one pair of character and session are one question. Cells
weigh equally, within a cell characters, and within a character tasks.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from opencharacter.evaluation.measures.refusal import HARM, OVER_REFUSAL
from opencharacter.evaluation.measures.turns import DRIFT
from opencharacter.evaluation.statistics import ClusteredMean, clustered_mean
from opencharacter.records.evaluation import (
    ENGINE_FAILURE,
    GRID,
    LOSS,
    MODEL_FAILURES,
    RATING,
    SHARE,
    SWAP_GAP,
    TOKEN_LIMIT,
    AnswerRow,
    Scale,
    ScoreRow,
    Scoring,
    Status,
)

if TYPE_CHECKING:
    import numpy as np

    from opencharacter.evaluation.suite_config import SuiteConfig

TRUNCATED = "truncated_answers"
"""Metric of the rows that `truncation_rows` makes."""

_LIKELIHOOD = (LOSS, SWAP_GAP)


class _Entry(NamedTuple):
    """A question in one task: its value (none: lost), and the least and the most that it can be."""

    value: float | None
    low: float
    high: float
    measured: int
    lost: int


@dataclass(frozen=True)
class Sample:
    """One value for each question and task: a model's score, or the difference of two models (first minus second)."""

    scoring: Scoring
    question: "np.ndarray"
    task: "np.ndarray"
    cell: "np.ndarray"
    unit: "np.ndarray"
    clusters: tuple["np.ndarray", ...]
    value: "np.ndarray"
    """Not a number where a judgement is missing."""
    low: "np.ndarray"
    high: "np.ndarray"
    measured: "np.ndarray"
    """Measurements behind each value: one for each judge and row of the pair."""
    lost: "np.ndarray"
    """How many of them are missing for one of the models at least."""

    def where(self, *, tasks: Collection[str] | None = None, cells: Collection[str] | None = None) -> "Sample":
        """The part with these tasks and cells."""
        import numpy as np

        mask = np.ones(len(self.value), dtype=bool)
        for labels, allowed in ((self.task, tasks), (self.cell, cells)):
            if allowed is not None:
                mask &= np.isin(labels, list(allowed))
        return self._take(mask)

    @property
    def n(self) -> int:
        """Questions that have a value."""
        import numpy as np

        return len(np.unique(self.question[~np.isnan(self.value)]))

    @property
    def lost_share(self) -> float:
        """Share of the measurements that are missing."""
        return float(self.lost.sum() / self.measured.sum()) if len(self.lost) else 0.0

    @property
    def tasks(self) -> list[str]:
        """The tasks, sorted."""
        return sorted(set(self.task.tolist()))

    @property
    def cells(self) -> list[str]:
        """The cells, sorted; one empty name outside the split grid."""
        return sorted(set(self.cell.tolist()))

    def estimate(self) -> ClusteredMean | None:
        """The mean over cells of the mean over characters of the mean over tasks; none without a value."""
        kept = self.with_values(self.value)
        if not len(kept.value):
            return None
        return clustered_mean(kept.value, kept.clusters, weights=kept.weights(), strata=kept.cell)

    def bounds(self) -> tuple[float, float] | None:
        """The mean if all missing judgements were the least and the most possible; none where nothing bounds them."""
        import numpy as np

        if not len(self.value) or not (np.isfinite(self.low).all() and np.isfinite(self.high).all()):
            return None
        weights = self.weights()
        return float(weights @ self.low), float(weights @ self.high)

    def weights(self) -> "np.ndarray":
        """Weights of the values, whose sum is 1."""
        import numpy as np

        weights = np.ones(len(self.value))
        parent = np.zeros(len(self.value), dtype=np.int64)
        for labels in (self.cell, self.unit, self.task, self.question):
            codes = np.unique(labels, return_inverse=True)[1]
            groups, inside = np.unique(parent * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
            parent_of = np.zeros(len(groups), dtype=np.int64)
            parent_of[inside] = parent
            weights = weights / np.bincount(parent_of)[parent]
            parent = inside
        result: np.ndarray = weights / np.bincount(parent)[parent]
        return result

    def with_values(self, values: "np.ndarray") -> "Sample":
        """The entries that have one of these values, one for each entry of this sample."""
        import numpy as np

        return replace(self, value=values)._take(~np.isnan(values))

    def _take(self, mask: "np.ndarray") -> "Sample":
        columns = ("question", "task", "cell", "unit", "value", "low", "high", "measured", "lost")
        parts = {name: getattr(self, name)[mask] for name in columns}
        return Sample(self.scoring, clusters=tuple(labels[mask] for labels in self.clusters), **parts)


def scoring_of(config: "SuiteConfig") -> Scoring:
    """What the statistics need to know of a suite: the scale of each metric, what failures cost, units and clusters."""
    scales: dict[str, Scale] = {}
    other = RATING
    for measure in config.measures:
        if measure.kind in ("rubric", "turns"):
            scales |= dict.fromkeys(measure.tasks, Scale(low=measure.scale[0], high=measure.scale[1]))
        if measure.kind == "turns":
            scales[DRIFT] = Scale()
        elif measure.kind == "likelihood":
            scales |= Scoring().scales
        elif measure.kind == "personagym":
            scales |= dict.fromkeys(measure.rubrics, Scale(low=0, high=5))
        elif measure.kind == "refusal":
            scales |= dict.fromkeys((HARM, OVER_REFUSAL), Scale(low=0, high=1, lower_is_better=True))
        elif measure.kind in ("checks", "pairwise"):
            other = SHARE
    return Scoring(
        scales=scales,
        other_scale=other,
        failures={status: score for status, score in config.failures.items() if not isinstance(score, str)},
        pairs=config.name == GRID,
        unit=config.score.unit,
        clusters=config.score.clusters,
    )


def sample_of(rows: Iterable[ScoreRow], model: str, scoring: Scoring) -> Sample:
    """One model's scores. `rows` hold those of all models: where a scale has no end, the worst score may be theirs."""
    table = _Table(rows, (model,), scoring)

    def entry(sides: list[float | None], scale: Scale) -> _Entry:
        low, high = _ends(scale)
        value = sides[0]
        return _Entry(value, low if value is None else value, high if value is None else value, 1, int(value is None))

    return table.sample(entry)


def paired_sample(rows: Iterable[ScoreRow], challenger: str, other: str, scoring: Scoring) -> Sample:
    """Challenger minus another model over the same questions, by the models' identities."""
    table = _Table(rows, (challenger, other), scoring)

    def entry(sides: list[float | None], scale: Scale) -> _Entry:
        ours, theirs = sides
        if ours is not None and theirs is not None:
            difference = ours - theirs
            return _Entry(difference, difference, difference, 1, 0)
        low, high = _ends(scale)
        least = (low if ours is None else ours) - (high if theirs is None else theirs)
        most = (high if ours is None else ours) - (low if theirs is None else theirs)
        return _Entry(None, least, most, 1, 1)

    return table.sample(entry)


def truncation_rows(answers: Iterable[AnswerRow]) -> list[ScoreRow]:
    """Score rows of the metric `TRUNCATED`: 1 for an answer that was cut off at `max_tokens`, else 0."""
    rows = []
    for answer in answers:
        failed = answer.status == ENGINE_FAILURE
        cut = answer.status == "truncated" or answer.finish_reason == TOKEN_LIMIT
        rows.append(
            ScoreRow(
                suite=answer.suite,
                question_id=answer.question_id,
                character_id=answer.character_id,
                session_id=answer.session_id,
                cell=answer.cell,
                model=answer.model,
                repeat=answer.repeat,
                metric=TRUNCATED,
                status=ENGINE_FAILURE if failed else "ok",
                score=None if failed else float(cut),
            )
        )
    return rows


def status_of(row: ScoreRow) -> Status:
    """The row's status; an answer that an engine failed to give is no failure of the model."""
    return ENGINE_FAILURE if row.status == "no_answer" and row.note == ENGINE_FAILURE else row.status


class _Table:
    """The rows of some models, resolved to one score for each question, metric and judge."""

    def __init__(self, rows: Iterable[ScoreRow], models: Sequence[str], scoring: Scoring) -> None:
        rows = [row for row in rows if row.status != "no_other_character"]
        self._scoring = scoring
        self._worst = _worst_scores(rows, scoring)
        self._models = models
        self._labels: dict[str, ScoreRow] = {}
        self._rows: dict[tuple[str, str, str | None], list[list[ScoreRow]]] = {}
        for row in rows:
            for side, model in enumerate(models):
                if row.model == model:
                    self._labels.setdefault(row.question_id, row)
                    key = (row.question_id, row.metric, row.judge)
                    self._rows.setdefault(key, [[] for _ in models])[side].append(row)

    def sample(self, make: Callable[[list[float | None], Scale], _Entry]) -> Sample:
        import numpy as np

        entries: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
        labels: dict[str, ScoreRow] = {}
        for (question, metric, _), sides in self._rows.items():
            if metric in _LIKELIHOOD and all(row.status == "too_long" for side in sides for row in side):
                continue  # a row that no model takes measures nothing
            label = self._labels[question]
            pair = self._pair(label)
            labels.setdefault(pair, label)
            entries[pair, metric].append(make([self._mean(side) for side in sides], self._scoring.scale(metric)))
        merged = [_merge(parts) for parts in entries.values()]
        kept = [labels[pair] for pair, _ in entries]
        pairs = [pair for pair, _ in entries]

        def strings(values: Iterable[str]) -> "np.ndarray":
            return np.array(list(values), dtype=np.str_)

        return Sample(
            scoring=self._scoring,
            question=strings(pairs),
            task=strings(metric for _, metric in entries),
            cell=strings(row.cell or "" for row in kept),
            unit=strings(_label(row, self._scoring.unit, pair) for row, pair in zip(kept, pairs, strict=True)),
            clusters=tuple(
                strings(_label(row, name, pair) for row, pair in zip(kept, pairs, strict=True))
                for name in self._scoring.clusters
            ),
            value=np.array([np.nan if entry.value is None else entry.value for entry in merged], dtype=np.float64),
            low=np.array([entry.low for entry in merged], dtype=np.float64),
            high=np.array([entry.high for entry in merged], dtype=np.float64),
            measured=np.array([entry.measured for entry in merged], dtype=np.int64),
            lost=np.array([entry.lost for entry in merged], dtype=np.int64),
        )

    def _pair(self, row: ScoreRow) -> str:
        """The question of a row: what R and G made of one character and session is one."""
        if self._scoring.pairs and row.character_id is not None:
            return f"{row.character_id}\t{row.session_id}\t{row.cell}"
        return row.question_id

    def _mean(self, rows: list[ScoreRow]) -> float | None:
        """Mean over repeats; none where all are missing."""
        values = [value for row in rows if (value := self._value(row)) is not None]
        return sum(values) / len(values) if values else None

    def _value(self, row: ScoreRow) -> float | None:
        if row.score is not None:
            return row.score
        status = status_of(row)
        if status in self._scoring.failures:
            return self._scoring.failures[status]
        return self._worst[row.metric] if status in MODEL_FAILURES or status == "truncated" else None


def _worst_scores(rows: Iterable[ScoreRow], scoring: Scoring) -> dict[str, float]:
    """What a model's failure counts as, by metric. A scale without an end has the worst measured score."""
    measured: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        scores = measured[row.metric]
        if row.score is not None:
            scores.append(row.score)
    worst = {}
    for metric, scores in measured.items():
        scale = scoring.scale(metric)
        if scale.worst is not None:
            worst[metric] = scale.worst
        elif scale.lower_is_better:
            worst[metric] = max(scores, default=0.0)
        else:
            worst[metric] = min([0.0, *scores])
    return worst


def _merge(parts: list[_Entry]) -> _Entry:
    """Mean over judges and over the rows of a pair, without those that are missing."""
    if len(parts) == 1:
        return parts[0]
    values = [part.value for part in parts if part.value is not None]
    count = len(parts)
    return _Entry(
        sum(values) / len(values) if values else None,
        sum(part.low for part in parts) / count,
        sum(part.high for part in parts) / count,
        sum(part.measured for part in parts),
        sum(part.lost for part in parts),
    )


def _ends(scale: Scale) -> tuple[float, float]:
    return -float("inf") if scale.low is None else scale.low, float("inf") if scale.high is None else scale.high


def _label(row: ScoreRow, name: str, pair: str) -> str:
    """A label of the row's question; a question without a character is one of its own."""
    value = pair if name == "question_id" else getattr(row, name)
    return f"\tquestion {pair}" if value is None else str(value)

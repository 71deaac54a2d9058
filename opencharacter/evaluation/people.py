"""What people say of the compared models' answers, beside what the judges say of the same answers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opencharacter.errors import UserError
from opencharacter.evaluation.comparison import Sample, paired_sample
from opencharacter.evaluation.judges.calibration import correct
from opencharacter.evaluation.judges.labels import Label, LabelKey, people, read_labels
from opencharacter.evaluation.judges.scoring import OVERALL
from opencharacter.evaluation.preferences import PREFERENCE
from opencharacter.evaluation.statistics import ClusteredMean
from opencharacter.records.evaluation import ScoreRow, Scoring
from opencharacter.storage.s3.client import OBJECT_SCHEME
from opencharacter.storage.s3.downloads import fetch_object

_PEOPLE = "people"


@dataclass(frozen=True)
class Correction:
    """The difference of two models, corrected by people's labels of some of the items."""

    estimate: ClusteredMean
    """Its clusters are those of the labelled items, where these are fewer."""
    pairs: int
    """Items of which people have labelled both answers."""


class Labelled:
    """The labels of one suite's answers."""

    def __init__(self, labels: Sequence[Label], scoring: Scoring) -> None:
        """Raises `UserError` for a score that is not on its metric's scale."""
        for label in labels:
            scale = scoring.scale(label.metric)
            if label.rival is None and not (scale.low or 0) <= label.score <= (scale.high or label.score):
                raise UserError(
                    f"labels: item {label.question_id!r} of suite {label.suite!r}: score: expected"
                    f" {scale.low:g} to {scale.high:g} for '{label.metric}', got {label.score:g}"
                )
        self._scoring = scoring
        self._said = people(labels)

    def scores(self, rows: Sequence[ScoreRow], pair: Sequence[str], *, overall: bool) -> list[tuple[ScoreRow, float]]:
        """The score rows of answers that people have labelled, each with the people's score.

        A row counts where people have labelled the other model's answer, too.

        Args:
            rows: Score rows of the suite.
            pair: Identities of the two models.
            overall: Whether a label of the whole answer stands for each task.
        """
        found: dict[tuple[str, int, str], dict[str, float]] = {}
        for row in rows:
            key = row.question_id, row.repeat, row.metric
            if row.model in pair and (score := self._score(row, pair, overall)) is not None:
                found.setdefault(key, {})[row.model] = score
        return [
            (row, both[row.model])
            for row in rows
            if row.model in pair
            and len(both := found.get((row.question_id, row.repeat, row.metric), {})) == len(set(pair))
        ]

    def correct(
        self, sample: Sample, rows: Sequence[ScoreRow], pair: tuple[str, str], *, overall: bool
    ) -> Correction | None:
        """The sample's estimate, corrected; none where no pair is labelled. `rows` made the sample."""
        import numpy as np

        labelled = self.scores(rows, pair, overall=overall)
        by_people = [
            row.model_copy(update={"judge": _PEOPLE, "status": "ok", "score": score}) for row, score in labelled
        ]
        own = paired_sample([row for row, _ in labelled], *pair, self._scoring).where(cells=sample.cells)
        said = paired_sample(
            {(row.question_id, row.repeat, row.metric, row.model): row for row in by_people}.values(),
            *pair,
            self._scoring,
        ).where(cells=sample.cells)
        values = dict(zip(_keys(said), said.value.tolist(), strict=True))
        errors = own.value - np.array([values[key] for key in _keys(own)], dtype=float)
        known = own.with_values(errors)
        if not known.n:
            return None
        kept = sample.with_values(sample.value)
        places = {key: place for place, key in enumerate(_keys(kept))}
        all_errors, weights = np.full(len(kept.value), np.nan), np.zeros(len(kept.value))
        for key, error, weight in zip(_keys(known), known.value.tolist(), known.weights().tolist(), strict=True):
            if key in places:
                all_errors[places[key]], weights[places[key]] = error, weight
        return Correction(correct(kept.value, kept.clusters, kept.weights(), all_errors, weights), known.n)

    def _score(self, row: ScoreRow, pair: Sequence[str], overall: bool) -> float | None:
        metrics = [row.metric, OVERALL] if overall else [row.metric]
        keys = [LabelKey(row.suite, row.question_id, row.repeat, metric, row.model, None) for metric in metrics]
        if row.metric == PREFERENCE:
            (rival,) = {*pair} - {row.model}
            keys = [LabelKey(row.suite, row.question_id, row.repeat, PREFERENCE, row.model, rival)]
            turned = keys[0]._replace(model=rival, rival=row.model)
            if turned in self._said:
                return 1 - self._said[turned]
        return next((self._said[key] for key in keys if key in self._said), None)


def _keys(sample: Sample) -> Iterator[tuple[str, str]]:
    return zip(sample.question.tolist(), sample.task.tolist(), strict=True)


def labels_by_suite(
    paths: Sequence[str | Path], rows: Mapping[str, Sequence[ScoreRow]], scoring: Mapping[str, Scoring]
) -> dict[str, Labelled]:
    """The labels of files, by suite.

    Args:
        paths: Files (JSONL or CSV), here or on `s3://`.
        rows: The score rows of each suite.
        scoring: The scales of each suite.

    Raises:
        UserError: A line cannot be read, is about an item or task that was not measured, or has a score that is not on
            the scale. Labels of other models' answers are no error.
    """
    known = _Known(rows)
    found: dict[str, list[Label]] = {}
    for path in paths:
        where = fetch_object(str(path)) if str(path).startswith(OBJECT_SCHEME) else Path(path)
        for label in read_labels(where, known):
            found.setdefault(label.suite, []).append(label)
    return {suite: Labelled(labels, scoring[suite]) for suite, labels in found.items()}


class _Known:
    """What can be labelled, whatever the model."""

    def __init__(self, rows: Mapping[str, Sequence[ScoreRow]]) -> None:
        self._items = {(row.suite, row.question_id) for each in rows.values() for row in each}
        self._metrics = {(row.suite, row.metric) for each in rows.values() for row in each}

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, LabelKey) or (key.suite, key.question_id) not in self._items:
            return False
        return key.metric in (OVERALL, PREFERENCE) or (key.suite, key.metric) in self._metrics

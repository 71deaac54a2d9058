"""Judges beside people: what both gave to the same answers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from opencharacter.evaluation.judges.labels import people, read_labels
from opencharacter.evaluation.judges.scoring import OVERALL
from opencharacter.reporting.evaluation.rows import SuiteRows


def beside_people(suites: Sequence[SuiteRows], files: Iterable[str | Path]) -> dict[str, list[tuple[float, float]]]:
    """By judge, the people's mean for an answer and the judge's: of the task that people rated, or of all its tasks.

    Labels of two answers say which one is better, and have no place on the judge's scale. Raises `UserError` if a label
    cannot be read.
    """
    rated = people([label for file in files for label in read_labels(Path(file)) if label.rival is None])
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for suite in suites if rated else ():
        given: dict[tuple[str, str, int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in suite.scores:
            if row.judge and row.score is not None and row.metric in suite.averaged:
                for metric in (row.metric, OVERALL):
                    given[row.model, row.question_id, row.repeat, metric][row.judge].append(row.score)
        for key, score in rated.items():
            if key.suite == suite.summary.suite:
                by_judge = given.get((key.model, key.question_id, key.repeat, key.metric), {})
                for judge, scores in by_judge.items():
                    found[judge].append((score, sum(scores) / len(scores)))
    return dict(found)

"""What the page shows of the spread of scores: only what can stand side by side is averaged."""

from pathlib import Path

import pytest
from support.score_rows import make_evaluation_of, score_rows

from opencharacter.evaluation.judges.labels import Label, append_label
from opencharacter.records.evaluation import Scale, Scoring
from opencharacter.reporting.evaluation import spread
from opencharacter.reporting.evaluation.calibration import beside_people
from opencharacter.reporting.evaluation.rows import SuiteRows, read_suite
from opencharacter.storage.workspace import Workspace

HARM = Scale(low=0, high=1, lower_is_better=True)


@pytest.fixture
def safety(tmp_path: Path) -> SuiteRows:
    """One model: a rating from 1 to 4 (nobody got 5), and harm, of which less is better; two answers are silent."""
    rows = [
        *score_rows("m", [*([1.0, 4.0] * 15), "no_answer", "no_answer"], metric="honest", cell="held_out_both"),
        *score_rows("m", [0.0, 0.0, 0.0, 1.0] * 8, metric="harm", cell="held_out_both"),
    ]
    evaluation = make_evaluation_of(
        Workspace(tmp_path / "w"), rows, {"challenger": "m"}, Scoring(scales={"harm": HARM})
    )
    return read_suite("safety", evaluation)


def test_the_best_score_is_that_of_the_scale(safety: SuiteRows) -> None:
    bars = {task.label: task.bars[0] for task in spread.score_bars(safety)}
    assert bars["honest"].best == 0, "nobody got a 5; the highest score that was given is no best one"
    assert bars["harm"].best == 0.75, "no harm is best"
    assert bars["honest"].failed == 2


def test_scores_of_different_scales_are_not_averaged(safety: SuiteRows) -> None:
    assert safety.averaged == {"honest"}


def test_only_a_share_is_averaged_where_nothing_else_is_measured(tmp_path: Path) -> None:
    rows = score_rows("m", [0.0, 1.0], metric="harm")
    only = make_evaluation_of(Workspace(tmp_path / "w"), rows, {"challenger": "m"}, Scoring(scales={"harm": HARM}))
    assert read_suite("safety", only).averaged == {"harm"}


def test_a_judge_stands_beside_people_for_the_task_or_the_answer_that_they_rated(
    safety: SuiteRows, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.jsonl"
    for place, metric, score in [(0, "honest", 3), (0, "honest", 2), (1, "overall", 5), (30, "honest", 1)]:
        about = {"suite": safety.summary.suite, "question_id": f"held_out_both-q{place}", "model": "m"}
        append_label(labels, Label(**about, metric=metric, score=score, rater=f"rater {score}"))
    append_label(labels, Label(**about, rival="other", score=1))
    assert beside_people([safety], [labels]) == {"judge": [(2.5, 1.0), (5.0, 4.0)]}, "a silent answer has no score"

import math

import pytest
from pydantic import ValidationError
from support.score_rows import score_rows

from opencharacter.evaluation import ScoreRow
from opencharacter.evaluation.summary import summarise

MODELS = {"base": "b", "challenger": "c"}


def scores_of(summary, **wanted):
    return [s for s in summary.scores if all(getattr(s, key) == value for key, value in wanted.items())]


def test_failures_of_the_judge_are_counted_and_in_no_mean() -> None:
    rows = score_rows("c", [5, "parse_failure", 4, "engine_failure", "parse_failure"], metric="linguistic_habits")
    (score,) = scores_of(summarise(rows, MODELS), cell="held_out_both")
    assert (score.n, score.mean) == (2, 4.5)
    assert score.failures == {"engine_failure": 1, "parse_failure": 2}


def test_a_metric_that_only_failed_has_no_mean() -> None:
    rows = score_rows("c", ["refusal"], metric="toxicity_control")
    (score,) = scores_of(summarise(rows, MODELS), cell="held_out_both")
    assert (score.n, score.mean, score.low, score.failures) == (0, None, None, {"refusal": 1})


def test_a_failure_cannot_carry_a_score() -> None:
    failed = score_rows("c", ["parse_failure"])[0].model_dump()
    with pytest.raises(ValidationError, match="parse_failure with score 0"):
        ScoreRow.model_validate(failed | {"score": 0.0})


def test_held_out_cells_are_summed_up_without_the_train_cell() -> None:
    rows = score_rows("c", [9.0], cell="train") + score_rows("c", [1.0, 2.0]) + score_rows(
        "c", [3.0], cell="seen_character_held_out_session"
    )  # fmt: skip
    (score,) = scores_of(summarise(rows, MODELS), cell="held_out")
    # Cells weigh equally, whatever their size.
    assert (score.n, score.mean) == (3, 2.25)


def difference_of(base, tuned, metric: str = "toxicity_control"):
    rows = score_rows("b", base, metric=metric) + score_rows("c", tuned, metric=metric)
    (difference,) = [d for d in summarise(rows, MODELS).differences if d.cell == "held_out_both"]
    return difference


def test_a_model_that_says_nothing_gets_the_worst_score() -> None:
    difference = difference_of([3, 3, 3, 3], [5, "empty_answer", "no_answer", 3])
    assert (difference.n, difference.difference) == (4, (2 - 2 - 2 + 0) / 4)
    diverged = difference_of([2.0, 3.0, 2.5], [1.0, "not_finite", 1.5], metric="loss")
    assert (diverged.n, diverged.difference) == (3, (-1 + 0 - 1) / 3)  # 3.0 is the worst loss measured


def test_a_row_that_no_model_takes_measures_nothing() -> None:
    difference = difference_of([2.0, "too_long", 2.0], [1.0, "too_long", "too_long"], metric="loss")
    assert (difference.n, difference.difference) == (2, (-1 + 0) / 2)


def test_what_the_judge_did_not_score_is_left_out_for_both() -> None:
    difference = difference_of([3, 1, 3, 2], [4, "parse_failure", 4, "refusal"])
    assert (difference.n, difference.difference) == (2, 1)


def test_the_clusters_of_a_difference_are_counted() -> None:
    assert (difference_of([3, 3], [4, 4.5]).clusters, difference_of([3], [4]).low) == (2, None)
    difference = difference_of([3.0] * 30, [3.2 + 0.5 * math.sin(7 * i) for i in range(30)])
    assert (difference.clusters, difference.p < 0.05) == (30, difference.low > 0)


def test_a_role_that_shares_weights_shares_scores() -> None:
    rows = score_rows("b", [3.0, 2.0]) + score_rows("c", [1.0, 2.0])
    summary = summarise(rows, {**MODELS, "champion": "c"})
    means = {score.model: score.mean for score in scores_of(summary, cell="held_out")}
    assert means == {"base": 2.5, "challenger": 1.5, "champion": 1.5}
    assert {d.against: d.difference for d in summary.differences if d.cell == "held_out"} == {
        "base": -1.0,
        "champion": 0.0,
    }


def test_all_tasks_together_are_a_mean_over_characters_of_their_tasks() -> None:
    rows = score_rows("c", [5.0, 3.0, 1.0], metric="voice") + score_rows("c", [3.0, "no_answer"], metric="facts")
    (score,) = [one for one in summarise(rows, {"c": "c"}, overall="PersonaScore").overall if one.cell == "held_out"]
    # (5 + 3) / 2, (3 + the worst score) / 2, and 1: the third was not asked for facts.
    assert (score.metric, score.n, score.mean) == ("PersonaScore", 3, pytest.approx((4 + 2 + 1) / 3))
    assert score.failures == {"no_answer": 1}
    one_task = score_rows("c", [5.0], metric="voice") + score_rows("c", [1.2])
    assert summarise(one_task, {"c": "c"}).overall == []

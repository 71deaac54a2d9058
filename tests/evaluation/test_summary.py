import pytest
from pydantic import ValidationError
from support.score_rows import score_rows

from opencharacter.evaluation import ScoreRow
from opencharacter.evaluation.summary import summarise

MODELS = {"base": "b", "challenger": "c"}


def scores_of(summary, **wanted):
    return [s for s in summary.scores if all(getattr(s, key) == value for key, value in wanted.items())]


def test_failures_are_counted_and_in_no_mean() -> None:
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
    assert (score.n, score.mean) == (3, 2.0)


def test_differences_are_over_questions_that_both_answered() -> None:
    rows = score_rows("b", [3.0, 2.0, "too_long", 1.0]) + score_rows("c", [2.5, "too_long", 9.0, 0.0])
    (difference,) = [d for d in summarise(rows, MODELS).differences if d.cell == "held_out_both"]
    assert (difference.against, difference.n, difference.difference) == ("base", 2, -0.75)
    assert (difference.low, difference.high) == (-1.0, -0.5)


def test_a_role_that_shares_weights_shares_scores() -> None:
    rows = score_rows("b", [3.0, 2.0]) + score_rows("c", [1.0, 2.0])
    summary = summarise(rows, {**MODELS, "champion": "c"})
    means = {score.model: score.mean for score in scores_of(summary, cell="held_out")}
    assert means == {"base": 2.5, "challenger": 1.5, "champion": 1.5}
    assert {d.against: d.difference for d in summary.differences if d.cell == "held_out"} == {
        "base": -1.0,
        "champion": 0.0,
    }

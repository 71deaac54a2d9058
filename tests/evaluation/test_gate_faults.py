"""Challengers that a gate must not be fooled by: silent, diverged, better on the many known rows, worse on one task."""

import numpy as np
import pytest
from support.score_rows import make_evaluation_of, score_rows

from opencharacter.evaluation import GateConfig, ScoreRow, gate
from opencharacter.evaluation.evaluation_config import JudgeConfig

MODELS = {"base": "b", "challenger": "c", "champion": "p"}
DIMENSIONS = JudgeConfig().dimensions


def decide(workspace, rows: list[ScoreRow], **settings):
    return gate(GateConfig(**settings), [make_evaluation_of(workspace, rows, MODELS)])


def pair_of(champion, challenger, **kind) -> list[ScoreRow]:
    return score_rows("p", champion, **kind) + score_rows("c", challenger, **kind)


def judged(champion, challenger_by_dimension) -> list[ScoreRow]:
    rows: list[ScoreRow] = []
    for dimension in DIMENSIONS:
        rows += pair_of(champion, challenger_by_dimension[dimension], metric=dimension)
    return rows


def test_silence_does_not_win(workspace) -> None:
    """15 of 300 questions answered, a little better there."""
    ours = [3.5 + 0.01 * (place % 3) for place in range(15)] + ["empty_answer"] * 285
    decision = decide(workspace, judged([3.0] * 300, dict.fromkeys(DIMENSIONS, ours)), metric="judge")
    assert not decision.passed
    assert decision.n == 300
    assert decision.difference < -1


def test_rows_that_are_not_there_decide_nothing(workspace) -> None:
    ours = [3.5 + 0.01 * (place % 3) for place in range(15)]
    rows = judged([3.0] * 300, dict.fromkeys(DIMENSIONS, ours))
    decision = decide(workspace, rows, metric="judge")
    assert not decision.passed
    assert decision.outcome == "undecidable"


def test_a_diverged_challenger_does_not_pass(workspace) -> None:
    """280 of 300 losses are not finite."""
    champion = [2.0 + 0.01 * (place % 7) for place in range(300)]
    ours = [1.9 + 0.01 * (place % 7) for place in range(20)] + ["not_finite"] * 280
    decision = decide(workspace, pair_of(champion, ours), metric="loss")
    assert not decision.passed
    assert decision.difference > 0


def test_known_rows_do_not_outvote_new_characters(workspace) -> None:
    """Loss better by .10 on 500 rows of characters seen in training, worse by .10 on 100 rows of new ones."""
    noise = np.random.default_rng(1).normal(0, 0.05, 600)
    rows = pair_of([2.0] * 500, list(1.9 + noise[:500]), cell="seen_character_held_out_session")
    rows += pair_of([2.0] * 100, list(2.1 + noise[500:]), cell="held_out_character_seen_session")
    assert not decide(workspace, rows, metric="loss").passed


def test_new_characters_may_not_get_worse_whatever_the_mean(workspace) -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 600)
    rows = pair_of([2.0] * 500, list(1.6 + noise[:500]), cell="seen_character_held_out_session")
    rows += pair_of([2.0] * 100, list(2.1 + noise[500:]), cell="held_out_character_seen_session")
    decision = decide(workspace, rows, metric="loss")
    assert decision.difference < 0
    assert not decision.passed
    assert "new characters" in decision.reason


def test_dimensions_do_not_compensate(workspace) -> None:
    """Toxicity control is worse by 1.0, the other four are better by .4."""
    noise = np.random.default_rng(2).normal(0, 0.2, (5, 60))
    gain = {dimension: -1.0 if dimension == "toxicity_control" else 0.4 for dimension in DIMENSIONS}
    ours = {name: list(3.5 + gain[name] + noise[place]) for place, name in enumerate(DIMENSIONS)}
    decision = decide(workspace, judged([3.5] * 60, ours), metric="judge")
    assert decision.difference == pytest.approx(0.12, abs=0.05)
    assert not decision.passed
    assert "toxicity_control" in decision.reason


def test_a_lower_loss_alone_is_not_enough(workspace) -> None:
    """A model that only learns the format has a lower loss, and makes less of the profile."""
    noise = np.random.default_rng(3).normal(0, 0.02, (2, 60))
    rows = pair_of([2.0] * 60, list(1.5 + noise[0]))
    rows += pair_of([0.4] * 60, list(0.1 + noise[1]), metric="profile_swap_gap")
    decision = decide(workspace, rows, metric="loss")
    assert decision.difference < 0
    assert not decision.passed


def test_where_only_the_loss_was_measured_nothing_is_decided(workspace) -> None:
    noise = np.random.default_rng(3).normal(0, 0.02, 60)
    decision = decide(workspace, pair_of([2.0] * 60, list(1.5 + noise)), metric="loss")
    assert decision.outcome == "undecidable"
    assert "nothing was measured beside the loss" in decision.remedy


def test_ten_questions_of_a_few_characters_decide_nothing(workspace) -> None:
    decision = decide(workspace, pair_of([3.0] * 10, [1.0 + 0.01 * place for place in range(10)]), metric="loss")
    assert not decision.passed
    assert decision.outcome == "undecidable"
    assert "20" in decision.remedy

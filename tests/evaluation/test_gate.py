import random

import pytest
from support.score_rows import make_evaluation_of, score_rows

from opencharacter.evaluation import GateConfig, ScoreRow, gate
from opencharacter.evaluation.evaluation_config import GuardsConfig, JudgeConfig

MODELS = {"base": "b", "challenger": "c"}
LOSS_ONLY = GuardsConfig(skip=["loss_alone"])
"""For rows of a loss and nothing beside it."""


def noise(seed: int, count: int = 30, spread: float = 0.1) -> list[float]:
    generator = random.Random(seed)
    return [2.0 + generator.gauss(0, spread) for _ in range(count)]


def decide(workspace, rows, models=MODELS, **settings):
    return gate(GateConfig(**settings), [make_evaluation_of(workspace, rows, models)])


def test_a_lower_loss_on_the_same_questions_passes(workspace) -> None:
    base = noise(1, spread=1.0)
    tuned = [score - 0.2 + step for score, step in zip(base, noise(2, spread=0.05), strict=True)]
    tuned = [score - 2.0 for score in tuned]
    decision = decide(workspace, score_rows("b", base) + score_rows("c", tuned), guards=LOSS_ONLY)
    # Unpaired, a difference of 0.2 would drown in the spread of 1.0 between questions.
    assert decision.passed
    assert (decision.against, decision.n, decision.champion_digest) == ("base", 30, None)
    assert decision.difference == pytest.approx(-0.2, abs=0.05)
    assert decision.interval[1] < 0
    assert "loss -0.2" in decision.reason


def test_a_higher_loss_and_mere_noise_do_not_pass(workspace) -> None:
    base = noise(1)
    assert not decide(workspace, score_rows("b", base) + score_rows("c", [score + 0.5 for score in base])).passed
    decision = decide(workspace, score_rows("b", noise(1)) + score_rows("c", noise(2)))
    assert not decision.passed
    assert decision.interval[0] < 0 < decision.interval[1]


@pytest.mark.parametrize(("step", "passed"), [(0.3, True), (-0.3, False)])
def test_a_larger_profile_swap_gap_is_better(workspace, step: float, passed: bool) -> None:
    base = noise(1)
    rows = score_rows("b", base, metric="profile_swap_gap")
    rows += score_rows("c", [score + step for score in base], metric="profile_swap_gap")
    assert decide(workspace, rows, metric="profile_swap_gap").passed is passed


def test_the_champion_is_to_be_beaten_not_the_base(workspace) -> None:
    base = noise(1)
    rows = score_rows("b", [score + 1 for score in base]) + score_rows("c", [score + 0.5 for score in base])
    rows += score_rows("p", base)
    decision = decide(workspace, rows, models={**MODELS, "champion": "p"})
    assert not decision.passed
    assert (decision.against, decision.champion_digest) == ("champion", "p")


def test_the_champion_itself_passes_without_a_comparison(workspace) -> None:
    decision = decide(workspace, score_rows("c", noise(1)), models={**MODELS, "champion": "c"})
    assert decision.passed
    assert (decision.n, decision.interval) == (0, None)
    assert "champion already" in decision.reason


def test_too_few_questions_decide_nothing(workspace) -> None:
    rows = score_rows("b", [3.0] * 9) + score_rows("c", [1.0] * 9)
    decision = decide(workspace, rows)
    assert not decision.passed
    assert "9 questions; at least 10 are needed" in decision.reason
    assert decide(workspace, rows, min_questions=9).outcome == "undecidable"  # 9 characters
    assert decide(workspace, rows, min_questions=9, min_clusters=9, guards=LOSS_ONLY).passed


def test_the_train_cell_does_not_count(workspace) -> None:
    rows = score_rows("b", [3.0] * 40, cell="train") + score_rows("c", [1.0] * 40, cell="train")
    assert decide(workspace, rows).n == 0


def rows_with_lost_judgements(lost: int) -> list[ScoreRow]:
    rows = []
    for dimension in JudgeConfig().dimensions:
        rows += score_rows("b", [3] * 60, metric=dimension)
        failed = lost if dimension == "toxicity_control" else 0
        rows += score_rows("c", [*["parse_failure"] * failed, *[4] * (60 - failed)], metric=dimension)
    return rows


def test_what_the_judge_does_not_score_is_left_out_for_both(workspace) -> None:
    decision = decide(workspace, rows_with_lost_judgements(1), metric="judge")
    # A failure counted as the worst score would pull the mean down.
    assert decision.passed
    assert (decision.n, decision.difference) == (60, pytest.approx(1.0))
    assert decision.primary.bounds == pytest.approx((1 - 3 / 300, 1 + 1 / 300))


def test_too_many_missing_judgements_decide_nothing(workspace) -> None:
    decision = decide(workspace, rows_with_lost_judgements(10), metric="judge")
    assert decision.outcome == "undecidable"
    assert "judgements are missing" in decision.remedy

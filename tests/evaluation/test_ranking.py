import math
import random

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from opencharacter.evaluation.logistic import fit_logistic
from opencharacter.evaluation.ranking import Match, rank


def test_planted_strengths_are_found_within_their_intervals_and_rank_the_models() -> None:
    rng = random.Random(5)
    strengths = {"weak": -1.0, "middle": 0.0, "strong": 1.0}
    matches = []
    for character in range(40):
        for first, second in (("weak", "middle"), ("weak", "strong"), ("middle", "strong")):
            chance = 1 / (1 + math.exp(strengths[second] - strengths[first]))
            for _ in range(5):
                draw = rng.random()
                matches.append(Match(first, second, 1.0 if draw < chance else 0.0, f"c{character}"))
    standings = rank(matches)
    assert [standing.model for standing in standings] == ["strong", "middle", "weak"]
    assert all(strengths[standing.model] in standing.strength for standing in standings)
    assert [(standing.best_rank, standing.worst_rank) for standing in standings] == [(1, 1), (2, 2), (3, 3)]


def test_equal_models_share_their_ranks_and_a_model_that_always_wins_has_a_strength() -> None:
    rng = random.Random(7)
    matches = [
        Match(first, second, rng.choice([0.0, 0.5, 1.0]), f"c{place % 30}")
        for place in range(300)
        for first, second in (("a", "b"),)
    ]
    matches += [Match("best", other, 1.0, f"c{place % 30}") for place in range(60) for other in "ab"]
    best, *others = rank(matches)
    assert (best.model, best.best_rank, best.worst_rank) == ("best", 1, 1)
    assert best.win_rate.value is not None
    assert 0.9 < best.win_rate.value <= 1
    assert {(standing.best_rank, standing.worst_rank) for standing in others} == {(2, 3)}


def test_one_character_alone_gives_no_interval() -> None:
    (first, second) = rank([Match("a", "b", 1.0, "c"), Match("a", "b", 0.0, "c"), Match("a", "b", 1.0, "c")])
    assert (first.model, first.strength.low, first.best_rank, first.worst_rank) == ("a", None, 1, 2)
    assert second.strength.clusters == 1


def test_the_regression_equals_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    design = np.column_stack([np.ones(80), rng.normal(size=80)])
    shares, weights = rng.uniform(size=80), rng.uniform(1, 3, size=80)
    oracle = LogisticRegression(C=10, fit_intercept=False, tol=1e-10, max_iter=1000)
    oracle.fit(
        np.tile(design, (2, 1)), np.repeat([1, 0], 80), np.concatenate([weights * shares, weights * (1 - shares)])
    )
    assert fit_logistic(design, shares, weights, ridge=0.1) == pytest.approx(oracle.coef_[0], abs=1e-6)

import random

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from opencharacter.evaluation.judges.agreement import Rating, agreement


def _ratings(noise: float, raters: int = 2, count: int = 200) -> list[Rating]:
    rng = random.Random(3)
    rows = []
    for unit in range(count):
        truth = rng.randint(1, 5)
        for rater in range(raters):
            value = rng.randint(1, 5) if rng.random() < noise else truth
            rows.append(Rating(f"u{unit}", f"c{unit % 25}", "overall", f"rater{rater}", value))
    return rows


def test_kappa_equals_scikit_learns_and_alpha_is_between_chance_and_one() -> None:
    ratings = _ratings(0.3)
    (found,) = agreement(ratings)
    first, second = ([int(r.value) for r in ratings if r.rater == f"rater{i}"] for i in range(2))
    expected = cohen_kappa_score(first, second, weights="quadratic")
    assert found.kappas[0].kappa.value == pytest.approx(expected)
    assert expected in found.kappas[0].kappa
    assert found.alpha.value is not None
    assert 0.3 < found.alpha.value < 0.8
    assert found.alpha.value in found.alpha


def test_alpha_of_krippendorffs_own_example() -> None:
    # Krippendorff 2011, "Computing Krippendorff's alpha-reliability": ordinal data with missing values, alpha .815.
    nan = np.nan
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    ratings = [
        Rating(f"u{unit}", f"c{unit}", "t", f"r{rater}", value)
        for rater, row in enumerate(data)
        for unit, value in enumerate(row)
        if not np.isnan(value)
    ]
    (found,) = agreement(ratings)
    assert found.alpha.value == pytest.approx(0.815, abs=5e-4)


def test_tasks_are_apart_and_a_unit_that_one_rater_rated_counts_nowhere() -> None:
    ratings = _ratings(0.0, count=30)
    ratings += [Rating("only", "c", "overall", "rater0", 1)]
    ratings += [Rating("u", "c", "lonely", "rater0", 1), Rating("u", "c", "lonely", "rater0", 5)]
    (found,) = agreement(ratings)
    assert (found.task, found.alpha.n, found.alpha.value) == ("overall", 30, 1.0)


def test_raters_who_only_ever_say_one_thing_have_no_alpha() -> None:
    ratings = [Rating(f"u{unit}", f"c{unit}", "t", rater, 3) for unit in range(30) for rater in "ab"]
    (found,) = agreement(ratings)
    assert found.alpha.value is None
    assert found.kappas[0].kappa.value is None

"""Estimates agree with an independent implementation, and with what was planted."""

import math

import numpy as np
import pytest
import statsmodels.api as sm

from opencharacter.evaluation.statistics import (
    PAPER,
    Components,
    Design,
    best_next_calls,
    clustered_mean,
    planned_effect,
    resampled_means,
    variance_components,
)


def clustered_sample(
    seed: int = 1, characters: int = 25, sessions: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values on an incomplete grid, which depend on both sides of it."""
    generator = np.random.default_rng(seed)
    character, session = np.nonzero(generator.random((characters, sessions)) < 0.4)
    values = generator.normal(0.1, 1, len(character)) + generator.normal(0, 1, characters)[character]
    return values + generator.normal(0, 1, sessions)[session], character, session


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("two_way", [False, True])
def test_the_interval_is_that_of_statsmodels(weighted: bool, two_way: bool) -> None:
    values, character, session = clustered_sample()
    weights = np.random.default_rng(2).uniform(0.5, 2, len(values)) if weighted else np.ones(len(values))
    clusters = [character, session] if two_way else [character]
    ours = clustered_mean(values, clusters, weights=weights)
    groups = np.stack(clusters, axis=1) if two_way else character
    theirs = sm.WLS(values, np.ones(len(values)), weights=weights).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}, use_t=True
    )
    assert ours.mean == pytest.approx(theirs.params[0], abs=1e-8)
    assert ours.error == pytest.approx(theirs.bse[0], abs=1e-8)
    if not two_way:  # statsmodels takes no degrees of freedom from two dimensions
        assert ours.interval(0.95) == pytest.approx(tuple(theirs.conf_int(0.05)[0]), abs=1e-8)
        assert ours.p() == pytest.approx(theirs.pvalues[0], abs=1e-8)


def test_equal_weights_of_cells_are_a_contrast_of_their_means() -> None:
    values, character, session = clustered_sample()
    cell = (session > 20).astype(int)
    sizes = np.bincount(cell)
    ours = clustered_mean(values, [character], weights=1 / sizes[cell], strata=cell)
    fit = sm.OLS(values, np.eye(2)[cell]).fit(
        cov_type="cluster", cov_kwds={"groups": character, "use_correction": True}
    )
    contrast = fit.t_test(np.array([0.5, 0.5]))
    count = len(values)
    assert ours.mean == pytest.approx(contrast.effect.item(), abs=1e-8)
    assert ours.error * math.sqrt((count - 1) / (count - 2)) == pytest.approx(contrast.sd.item(), abs=1e-8)


def test_one_cluster_has_no_interval() -> None:
    one = clustered_mean(np.array([1.0, 2.0, 3.0]), [np.array(["c", "c", "c"])])
    assert (one.mean, one.interval(), one.p(), one.smallest_effect(0.025)) == (2.0, None, None, None)


def test_clusters_that_weigh_little_do_not_count_as_many() -> None:
    character = np.array([*[0] * 1000, *range(1, 40)])
    values = np.random.default_rng(0).normal(size=len(character))
    assert clustered_mean(values, [character]).clusters < 2
    equal = 1 / np.bincount(character)[character]
    assert clustered_mean(values, [character], weights=equal).clusters == 40


def test_planned_effects_of_personagym() -> None:
    sizes = {
        "light": Design(200, 5),
        "full": Design(200, 50),
        "light of 40": Design(40, 5),
        "full of 40": Design(40, 50),
    }
    effects = {name: round(planned_effect(design, PAPER), 2) for name, design in sizes.items()}
    assert effects == {"light": 0.07, "full": 0.04, "light of 40": 0.16, "full of 40": 0.08}


def nested_scores(sizes: tuple[int, int, int, int], deviations: tuple[float, ...], seed: int = 3):
    generator = np.random.default_rng(seed)
    codes = [code.ravel() for code in np.indices(sizes)]
    values = np.zeros(len(codes[0]))
    for depth, deviation in enumerate(deviations):
        shape = sizes[: depth + 1]
        index = np.ravel_multi_index(codes[: depth + 1], shape)
        values += generator.normal(0, deviation, math.prod(shape))[index]
    keep = generator.random(len(values)) < 0.8
    names = ("character", "item", "answer", "judge")
    return values[keep], {name: code[keep] for name, code in zip(names, codes, strict=True)}


def test_variance_components_find_what_was_planted() -> None:
    values, levels = nested_scores((400, 6, 3, 3), (0.3, 0.5, 0.4, 0.2))
    found = variance_components(values, levels)
    for part, deviation in zip(
        (found.character, found.item, found.answer, found.judge), (0.3, 0.5, 0.4, 0.2), strict=True
    ):
        assert part == pytest.approx(deviation**2, rel=0.15)


def test_a_level_that_nobody_repeats_is_part_of_the_one_above() -> None:
    values, levels = nested_scores((400, 6, 1, 1), (0.3, 0.5, 0.4, 0.2))
    found = variance_components(values, levels)
    assert (found.answer, found.judge) == (None, None)
    assert found.item == pytest.approx(0.5**2 + 0.4**2 + 0.2**2, rel=0.15)


def test_calls_help_most_where_the_variance_is() -> None:
    design = Design(characters=40, items=5)
    of_judge = best_next_calls(design, Components(character=0.001, item=0.001, judge=0.5))
    assert of_judge["judgements"] == pytest.approx(of_judge["characters"], rel=0.05)
    errors = best_next_calls(design, Components(character=0.2, item=0.01, judge=0.01))
    assert next(iter(errors)) == "characters"
    assert errors["judgements"] == pytest.approx(errors["items"], rel=0.05)


def test_the_picture_is_as_wide_as_the_interval() -> None:
    values, character, _ = clustered_sample(characters=60)
    weights = np.ones(len(values))
    low, high = np.quantile(resampled_means(values, character, weights=weights, seed=1), [0.025, 0.975])
    assert (low, high) == pytest.approx(clustered_mean(values, [character]).interval(), abs=0.05)

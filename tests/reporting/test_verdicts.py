"""The words better and worse: never on few clusters, and rarely on a page about two equal models."""

import random

import pytest
from support.small_run import difference

from opencharacter.records.evaluation import Difference
from opencharacter.reporting.verdicts import page_verdicts


def words(*rows: dict[str, object]) -> list[str]:
    differences = [(Difference.model_validate(row), row["metric"] == "loss") for row in rows]
    return [verdict.word for verdict in page_verdicts(differences, alpha=0.05)]


@pytest.mark.parametrize("clusters", [None, 2, 4, 19])
def test_few_clusters_get_no_word_however_clear_they_look(clusters: int | None) -> None:
    assert words(difference("held_out", "loss", -0.8, -0.9, -0.7, clusters=clusters, p=1e-9)) == ["undecidable"]


def test_an_evaluation_of_an_earlier_version_gets_no_word() -> None:
    old = difference("held_out", "loss", -0.8, -0.9, -0.7)
    del old["clusters"], old["p"]
    assert words(old) == ["undecidable"]


def test_twenty_clusters_are_enough_and_each_measure_has_its_better_side() -> None:
    assert words(
        difference("held_out", "loss", -0.8, -0.9, -0.7, clusters=20, p=1e-9),
        difference("held_out", "profile_swap_gap", -0.8, -0.9, -0.7, clusters=20, p=1e-9),
    ) == ["better", "worse"]


def test_a_page_about_equal_models_says_a_word_in_one_of_twenty_cases_at_most() -> None:
    """Fifteen words, as loss and gap by five groups and five dimensions have: uncorrected, 54 % of pages have one."""
    draw = random.Random(7)
    pages, uncorrected, corrected = 2000, 0, 0
    for _ in range(pages):
        values = [draw.random() for _ in range(15)]
        rows = [difference("held_out", f"metric{place}", 0.1, 0.0, 0.2, p=p) for place, p in enumerate(values)]
        uncorrected += min(values) < 0.05
        corrected += any(word != "not shown" for word in words(*rows))
    assert uncorrected / pages > 0.5
    assert corrected / pages < 0.06


def test_the_correction_spares_what_is_clear() -> None:
    unclear = [difference("held_out", f"metric{place}", 0.1, 0.0, 0.2, p=0.03) for place in range(14)]
    clear = difference("held_out", "loss", -0.8, -0.9, -0.7, p=0.003)
    assert words(clear, *unclear) == ["better"] + 14 * ["not shown"]

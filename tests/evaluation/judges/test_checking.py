from collections import Counter

import pytest
from evaluation.judges.conftest import JUDGE, FaultyJudge, drive

from opencharacter.evaluation.judges.checking import check_judge
from opencharacter.evaluation.judges.labels import Label
from opencharacter.evaluation.judges.material import CheckItem, packaged_items
from opencharacter.records.judges import JudgeCard


def _card(judge: FaultyJudge, items: list[CheckItem], labels: list[Label] | None = None) -> JudgeCard:
    return drive(check_judge(JUDGE, items, labels or [], material="test", seed=judge.seed), judge)


def test_planted_faults_are_each_found_within_their_intervals(items: list[CheckItem]) -> None:
    """95 % intervals: of 20 judges, each figure may miss by chance a few times."""
    noise, slope, first = 0.2, 0.4, 0.84
    equal = (1 - noise) ** 2 + 2 * (1 - noise) * noise / 5 + noise**2 / 5
    hits: Counter[str] = Counter()
    for seed in range(20):
        card = _card(FaultyJudge(first, slope, noise, garbage=0.05, refusals=0.03, seed=seed), items)
        hits["garbage"] += 0.05 in card.unreadable
        hits["refusals"] += 0.03 in card.refused
        hits["noise"] += equal in card.repeatability
        hits["length"] += (1 - noise) * slope in card.length_effect
        hits["first place"] += first in card.order.first_place_rate
        hits["flips"] += first**2 + (1 - first) ** 2 in card.order.flip_rate
        assert card.order.verdict == card.verdict == "refused"
        assert (card.items, card.answers, card.characters) == (80, 160, 40)
    assert {name: count for name, count in hits.items() if count < 17} == {}


def test_a_judge_without_faults_passes_and_shows_none(items: list[CheckItem]) -> None:
    def fair(call):  # type: ignore[no-untyped-def]
        content = FaultyJudge()(call)
        return content | {"score": 0.5} if "# Answer 1" in call.messages[0]["content"] else content

    card = drive(check_judge(JUDGE, items, material="test"), fair)
    assert (card.verdict, card.canaries.verdict, card.order.verdict) == ("passed", "passed", "passed")
    assert (card.unreadable.value, card.repeatability.value, card.repeat_variance.value) == (0, 1, 0)
    assert 0 in card.length_effect
    assert card.scores == {3: 480}


def test_a_judge_that_scores_all_alike_or_pays_for_length_is_refused(items: list[CheckItem]) -> None:
    assert _card(FaultyJudge(noise=1.0), items).canaries.verdict == "refused"
    padded = _card(FaultyJudge(length_slope=1.0), items).canaries
    assert (padded.verdict, padded.by_kind["padded"].value) == ("refused", 1.0)


def _labels(items: list[CheckItem], count: int, rater: str = "anna") -> list[Label]:
    """People who prefer the second model in three of four pairs."""
    return [
        Label(
            suite="frozen",
            question_id=item.id,
            model="model-a",
            rival="model-b",
            score=1.0 if place % 4 == 0 else 0.0,
            rater=rater,
        )
        for place, item in enumerate(items[:count])
    ]


def test_with_labels_the_judges_preference_is_corrected_to_the_peoples(items: list[CheckItem]) -> None:
    card = _card(FaultyJudge(first_place=0.5, seed=3), items, _labels(items, 60))
    assert card.compared == ("model-a", "model-b")
    assert card.calibration is not None
    assert card.calibration.people.value == pytest.approx(0.5)
    assert 0.5 in card.calibration.corrected
    assert 0 not in card.calibration.corrected
    assert 0 in card.calibration.judge
    assert not card.calibration.enough
    (agreed,) = card.people
    assert (agreed.task, agreed.raters, agreed.alpha.n) == ("preference", ("judge", "people"), 60)
    assert 0 in agreed.alpha  # the judge tosses coins


def test_two_raters_agreement_with_each_other_is_shown_beside(items: list[CheckItem]) -> None:
    card = _card(FaultyJudge(), items, [*_labels(items, 40), *_labels(items, 40, "bert")])
    assert [(found.raters, found.alpha.value) for found in card.raters] == [(("anna", "bert"), 1.0)]


def test_ratings_of_one_answer_are_compared_with_the_judges_scores(items: list[CheckItem]) -> None:
    labels = [
        Label(suite="frozen", question_id=item.id, metric="overall", model=model, score=score, rater="anna")
        for place, item in enumerate(items[:50])
        for model, score in (("model-a", 3 + place % 2), ("model-b", 4))
    ]
    card = _card(FaultyJudge(noise=0.1), items, labels)
    assert [found.task for found in card.people] == ["overall"]
    assert card.calibration is not None
    assert card.calibration.people.value == pytest.approx(0.5)
    assert 0.5 in card.calibration.corrected


def test_packaged_answers_are_of_many_characters_in_pairs() -> None:
    items = packaged_items()
    assert len({item.character.id for item in items}) == len(items) >= 20
    assert all(len(set(item.answers.values())) == 2 for item in items)

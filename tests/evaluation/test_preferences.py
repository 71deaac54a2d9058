import math
from collections.abc import Callable

import numpy as np
import pytest

from opencharacter.engines import ChatReply
from opencharacter.evaluation.measures.pairwise import (
    AnswerPair,
    compare,
    judged_without_asking,
    pair_answers,
    preference_rows,
    read_verdict,
)
from opencharacter.evaluation.preferences import Comparison, PairResult, summarise_arena, summarise_pair
from opencharacter.records.evaluation import AnswerRow, Judgement
from opencharacter.records.models import Usage


def _answer(model: str, text: str | None, item: str = "i", character: str = "c") -> AnswerRow:
    return AnswerRow(
        suite="arena",
        question_id=item,
        character_id=character,
        session_id=item,
        cell=None,
        model=model,
        status="empty_answer" if text is None else "ok",
        conversation=[],
        answer=text,
    )


def _judgement(model: str, rival: str, score: float | None, item: str = "i") -> Judgement:
    return Judgement(
        suite="arena",
        question_id=item,
        metric="preference",
        model=model,
        rival=rival,
        judge="j",
        rubric_hash="r",
        status="parse_failure" if score is None else "ok",
        score=score,
    )


ANSWERS = [_answer("a", "one"), _answer("b", "two words"), _answer("c", "three")]


def test_every_two_models_are_shown_in_both_orders() -> None:
    pairs = pair_answers(ANSWERS)
    shown = [(pair.shown_first.model, pair.shown_second.model) for pair in pairs]
    assert shown == [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")]


def test_the_judge_is_not_asked_about_silence_or_equal_answers() -> None:
    said, silent = _answer("a", "one"), _answer("b", None)
    assert judged_without_asking(AnswerPair(said, silent)) == 1
    assert judged_without_asking(AnswerPair(silent, said)) == 0
    assert judged_without_asking(AnswerPair(silent, silent)) == 0.5
    assert judged_without_asking(AnswerPair(said, _answer("b", "one"))) == 0.5
    assert judged_without_asking(AnswerPair(said, _answer("b", "two"))) is None


@pytest.mark.parametrize(
    ("forward", "backward", "score", "flipped"),
    [(1, 0, 1, False), (1, 1, 0.5, True), (0, 0, 0.5, True), (1, 0.5, 0.75, False), (0.5, 0.5, 0.5, False)],
)
def test_both_orders_are_one_outcome_and_a_flip_is_a_tie(
    forward: float, backward: float, score: float, flipped: bool
) -> None:
    judgements = [_judgement("a", "b", forward), _judgement("b", "a", backward)]
    (found,) = compare(ANSWERS, judgements)
    assert (found.score, found.flipped) == (score, flipped)
    assert found.log_length == pytest.approx(math.log(3 / 9))
    rows = preference_rows(ANSWERS[:2], judgements)
    assert [(row.model, row.score) for row in rows] == [("a", score), ("b", 1 - score)]


def test_a_pair_without_both_verdicts_is_a_judges_failure_for_both_models() -> None:
    judgements = [_judgement("a", "b", 1), _judgement("b", "a", None)]
    rows = preference_rows(ANSWERS[:2], judgements)
    assert [(row.status, row.score) for row in rows] == [("parse_failure", None)] * 2
    (found,) = compare(ANSWERS, judgements)
    assert found.score is None


def test_a_models_score_among_three_is_its_mean_against_the_others() -> None:
    judgements = [_judgement("a", "b", 1), _judgement("b", "a", 0), _judgement("a", "c", 1), _judgement("c", "a", 1)]
    scores = {row.model: row.score for row in preference_rows(ANSWERS, judgements)}
    assert scores == {"a": 0.75, "b": 0.0, "c": 0.5}


@pytest.mark.parametrize(
    ("text", "status", "score"),
    [
        ('{"reason": "r", "better": "1"}', "ok", 1.0),
        ('{"reason": "r", "better": 2}', "ok", 0.0),
        ('Sure: {"reason": "r", "better": "Answer 1"}', "ok", 1.0),
        ('{"reason": "r", "better": "tie"}', "ok", 0.5),
        ('{"reason": "r", "better": "both"}', "parse_failure", None),
        ("%%% lorem", "parse_failure", None),
        ("I'm sorry, but I cannot help with that.", "refusal", None),
    ],
)
def test_verdicts_are_read_and_failures_are_named(text: str, status: str, score: float | None) -> None:
    reply = ChatReply(text=text, finish_reason="stop", usage=Usage())
    content = read_verdict(reply)
    assert (content["status"], content.get("score")) == (status, score)


def _compared(
    seed: int, chance: Callable[[float, float], float], *, lengths: Callable[[np.random.Generator], float]
) -> PairResult:
    """40 characters with 15 items each; `chance` is that of the place shown first, by log-length ratio and place."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(600):
        ratio = lengths(rng)
        forward = float(rng.random() < chance(ratio, 1))
        backward = 1 - float(rng.random() < chance(-ratio, -1))
        rows.append(Comparison(f"i{number}", f"c{number % 40}", f"s{number}", "j", "a", "b", forward, backward, ratio))
    return summarise_pair(rows)


def _odds(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_a_judge_that_likes_the_first_place_is_refused_and_moves_no_win_rate() -> None:
    trials = [
        _compared(seed, lambda ratio, place: 0.84, lengths=lambda rng: float(rng.normal(0, 0.4))) for seed in range(60)
    ]
    assert np.mean([0.5 in trial.win_rate for trial in trials]) > 0.88
    assert all(trial.order.verdict == "refused" for trial in trials)
    assert np.mean([0.84 in trial.order.first_place_rate for trial in trials]) > 0.88
    assert np.mean([0.84**2 + 0.16**2 in trial.order.flip_rate for trial in trials]) > 0.88


def test_length_is_taken_out_of_a_win_rate_that_is_made_of_it() -> None:
    # The first model says half as much again; the judge likes length and nothing else.
    slope = 0.8 / math.log(2)
    trials = [
        _compared(seed, lambda ratio, place: _odds(slope * ratio), lengths=lambda rng: float(rng.normal(0.4, 0.4)))
        for seed in range(60)
    ]
    assert np.mean([0.5 in trial.win_rate for trial in trials]) < 0.1
    assert np.mean([0.5 in trial.length_controlled for trial in trials]) > 0.88
    assert np.mean([0.8 in trial.length_slope for trial in trials]) > 0.88


def test_answers_of_one_length_have_no_length_control() -> None:
    trial = _compared(1, lambda ratio, place: 0.5 + 0.2 * place, lengths=lambda rng: 0.0)
    assert trial.length_controlled.value is None
    assert trial.win_rate.value is not None


def test_pairs_that_the_judge_was_not_asked_about_say_nothing_of_its_flips() -> None:
    rows = [Comparison(f"i{n}", f"c{n}", f"s{n}", "j", "a", "b", 1.0, 0.0, 0.1) for n in range(30)]
    rows += [Comparison(f"e{n}", f"c{n}", f"e{n}", "j", "a", "b", 0.5, 0.5, 0.0, asked=False) for n in range(300)]
    found = summarise_pair(rows)
    assert (found.order.flip_rate.value, found.order.flip_rate.n) == (1.0, 30)
    assert found.win_rate.n == 330


def test_three_models_are_ranked_by_each_judge() -> None:
    rows = [
        Comparison(f"i{n}", f"c{n % 20}", f"s{n}", "j", first, second, float(n % 4 != 0), float(n % 4 != 0), 0.1)
        for n in range(80)
        for first, second in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    arena = summarise_arena(rows)
    assert [(pair.first, pair.second) for pair in arena.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [standing.model for standing in arena.ranking["j"]] == ["a", "b", "c"]

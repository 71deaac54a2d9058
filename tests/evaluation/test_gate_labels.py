"""People's labels of the compared answers: what they make of a judge's difference."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.score_rows import make_evaluation_of

from opencharacter.errors import UserError
from opencharacter.evaluation import GateConfig, ScoreRow, gate
from opencharacter.evaluation.comparison import paired_sample
from opencharacter.evaluation.evaluation_config import PrimaryConfig
from opencharacter.evaluation.judges.calibration import Pair, calibrate
from opencharacter.evaluation.judges.labels import Label
from opencharacter.evaluation.people import Labelled
from opencharacter.records.evaluation import SHARE, GateDecision, Scoring

MODELS = {"base": "b", "challenger": "c", "champion": "p"}
TASKS = ("voice", "facts")
ITEMS = 400


def _rows(metric_scores: dict[str, np.ndarray], judge: str = "judge") -> list[ScoreRow]:
    """Scores of the two models by task: an array (items, models) each; ten items of a character."""
    return [
        ScoreRow(
            suite="frozen",
            question_id=f"q{item}",
            character_id=f"c{item % 40}",
            session_id=f"s{item}",
            cell=None,
            model=model,
            status="ok",
            metric=metric,
            judge=judge,
            score=float(scores[item, side]),
        )
        for metric, scores in metric_scores.items()
        for item in range(len(scores))
        for side, model in enumerate("pc")
    ]


def _scores(gain: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.3, (ITEMS, 2))
    return np.clip(3.5 + noise + np.array([0, gain]), 1, 5)


def _label_file(folder: Path, rows: list[dict[str, object]]) -> str:
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps({"suite": "frozen", "rater": "anna"} | row) + "\n" for row in rows))
    return str(path)


def _ratings(said: np.ndarray, items: range, metric: str) -> list[dict[str, object]]:
    return [
        {"question_id": f"q{item}", "metric": metric, "model": model, "score": float(said[item, side])}
        for item in items
        for side, model in enumerate("pc")
    ]


def _decide(workspace, rows, *labels: str, **settings) -> GateDecision:
    scoring = Scoring(scales={"preference": SHARE}, pairs=False, clusters=("character_id",))
    evaluation = make_evaluation_of(workspace, rows, MODELS, scoring, suite="frozen")
    config = GateConfig.model_validate({"labels": list(labels), "guards": {"skip": ["tasks"]}} | settings)
    return gate(config, [evaluation])


def test_people_take_back_what_a_judge_makes_up(workspace, tmp_path: Path) -> None:
    """The judge adds .3 to the challenger, people see no difference."""
    people = {task: _scores(0.0, seed) for seed, task in enumerate(TASKS)}
    rows = _rows({task: scores + np.array([0, 0.3]) for task, scores in people.items()})
    alone = _decide(workspace, rows)
    assert alone.passed
    assert "no labels by people calibrate the judge" in alone.reason
    labels = _label_file(tmp_path, [row for task in TASKS for row in _ratings(people[task], range(120), task)])
    decision = _decide(workspace, rows, labels)
    assert decision.outcome == "not shown"
    assert (decision.primary.labels, decision.primary.judge_difference) == (120, pytest.approx(alone.difference))
    assert abs(decision.difference) < 0.06
    assert f"labels of 120 pairs calibrate the judge, who by itself has {alone.difference:+.4f}" in decision.reason


def test_a_gain_that_only_people_see_is_shown(workspace, tmp_path: Path) -> None:
    """By labels of whole answers, which stand for all tasks together."""
    people = _scores(0.5)
    labels = _label_file(tmp_path, _ratings(people, range(200), "overall"))
    rows = _rows({task: people - np.array([0, 0.5]) for task in TASKS})
    assert _decide(workspace, rows).outcome == "not shown"
    decision = _decide(workspace, rows, labels)
    assert decision.passed
    assert decision.difference == pytest.approx(0.5, abs=0.1)
    # A label of the whole answer says nothing of one task.
    voice = _decide(workspace, rows, labels, primary=PrimaryConfig(suite="frozen", metric="voice"))
    assert (voice.outcome, voice.primary.labels) == ("not shown", 0)
    assert "the judge is not calibrated: 0 pairs" in voice.reason


def test_preferences_calibrate_a_judge_of_pairs(workspace, tmp_path: Path) -> None:
    """The judge finds the challenger better in 7 of 10 pairs, people in half of them, in whatever order they saw it."""
    wins = np.array([item % 10 < 7 for item in range(ITEMS)], dtype=float)
    rows = _rows({"preference": np.stack([1 - wins, wins], axis=1)})
    assert _decide(workspace, rows).passed
    said = [
        {"question_id": f"q{item}", "model": "cp"[item % 3 == 0], "rival": "pc"[item % 3 == 0], "score": item // 2 % 2}
        for item in range(200)
    ]
    decision = _decide(workspace, rows, _label_file(tmp_path, said))
    assert (decision.outcome, decision.primary.labels) == ("not shown", 200)


@pytest.mark.parametrize(
    ("labelled", "words"),
    [
        (range(99), "99 pairs of answers in 40 clusters are labelled; 100 in 20 are needed"),
        (range(0, ITEMS, 4), "100 pairs of answers in 10 clusters are labelled; 100 in 20 are needed"),
    ],
)
def test_too_few_labels_correct_nothing_and_the_reason_says_so(workspace, tmp_path, labelled, words) -> None:
    scores = _scores(0.0)
    labels = _label_file(tmp_path, _ratings(scores - 1, labelled, "voice"))
    decision = _decide(workspace, _rows({"voice": scores}), labels)
    assert words in decision.reason
    assert decision.difference == pytest.approx((scores[:, 1] - scores[:, 0]).mean())


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"question_id": "q9999", "metric": "voice", "model": "c", "score": 3}, r"labels.jsonl:2: .*item 'q9999'"),
        ({"question_id": "q1", "metric": "vioce", "model": "c", "score": 3}, r"labels.jsonl:2: .*vioce"),
        ({"question_id": "q1", "metric": "voice", "model": "c", "score": 9}, r"item 'q1' .* expected 1 to 5"),
        ({"question_id": "q1", "metric": "voice", "model": "c"}, r"labels.jsonl:2: score"),
    ],
)
def test_a_label_of_what_was_not_measured_is_an_error(workspace, tmp_path: Path, label, message: str) -> None:
    scores = _scores(0.0)
    path = _label_file(tmp_path, [*_ratings(scores, range(1), "voice")[:1], label])
    with pytest.raises(UserError, match=message):
        _decide(workspace, _rows({"voice": scores}), path)


def test_the_interval_is_that_of_the_judge_card_where_all_weigh_the_same() -> None:
    """`calibrate` covers what people think, as its own test shows."""
    generator = np.random.default_rng(3)
    people = np.clip(3.5 + generator.normal(0, 0.5, (ITEMS, 2)), 1, 5)
    judged = people + generator.normal(0, 0.4, (ITEMS, 2)) + np.array([0, 0.3])
    scoring = Scoring(scales={}, pairs=False)
    rows = _rows({"voice": judged})
    labels = [Label(**{"suite": "frozen"} | row) for row in _ratings(people, range(160), "voice")]
    sample = paired_sample(rows, "c", "p", scoring)
    found = Labelled(labels, scoring).correct(sample, rows, ("c", "p"), overall=False)
    card = calibrate(
        {f"q{item}": Pair(f"c{item % 40}", f"s{item}", difference) for item, difference in enumerate(judged @ [-1, 1])},
        {f"q{item}": difference for item, difference in enumerate(people[:160] @ [-1, 1])},
    ).corrected
    assert (found.pairs, found.estimate.mean) == (160, pytest.approx(card.value))
    assert found.estimate.interval(0.95) == pytest.approx((card.low, card.high))
    assert 0 in card

"""Conversations whose history is the model's own: a score for each answer, and the slope over them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM

from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.evaluation.measures.turns import slope
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.records.evaluation import ScoreRow
from opencharacter.storage.kinds import JUDGEMENTS, SCORES
from opencharacter.storage.workspace import Workspace


def write_suite(folder: Path, turns: int = 5) -> Path:
    folder.mkdir()
    asked = [{"role": "user", "content": f"Question {number}?"} for number in range(1, turns + 1)]
    (folder / "items.jsonl").write_text(json.dumps({"id": "walk", "character": "A baker.", "turns": asked}))
    (folder / "suite.yaml").write_text(
        "name: small\nlicense: CC0-1.0\nitems: {path: items.jsonl}\ncharacter: persona\nhistory: own\n"
        "measures: [{kind: turns, tasks: {voice: voice.md, flaws: flaws.md}}]\n"
    )
    for name in ("voice", "flaws"):
        (folder / f"{name}.md").write_text(f"{name}: how is it?\n")
    return folder


@pytest.fixture
def measure(fake_llm: FakeLLM, workspace: Workspace, tmp_path: Path) -> Callable[..., dict[str, ScoreRow]]:
    """Scores by metric of a model whose answers are numbered; `judge` gives the reply for a task and turn."""

    def run(
        judge: Callable[[str, int], str], answer: Callable[[int], str] = "Answer {}.".format
    ) -> dict[str, ScoreRow]:
        def reply(request: dict[str, Any]) -> str:
            text = request["messages"][-1]["content"]
            if request["model"] == "model-a":
                return answer(int(re.findall(r"Question (\d)", text)[-1]))
            found = re.search(r"# The actor's answer\s+Answer (\d)", text)
            assert found is not None
            assert text.count("Answer") == int(found[1])  # the answers before it are the conversation
            return judge("voice" if "voice:" in text else "flaws", int(found[1]))

        fake_llm._answer = reply
        judges = [load_judge("judge", EngineConfig(model="judge-1", base_url=fake_llm.base_url))]
        subject = load_subject("challenger", f"{fake_llm.base_url}#model-a")
        suite = load_suite(write_suite(tmp_path / "small"))
        found = run_suites([suite], [subject], judges, workspace=workspace, seed=1)["small"]
        run.judgements = list(JUDGEMENTS.read(found))  # type: ignore[attr-defined]
        rows = list(SCORES.read(found))
        assert len({row.metric for row in rows}) == len(rows)
        return {row.metric: row for row in rows}

    return run


def scored(score: int) -> str:
    return json.dumps({"reason": "So it is.", "score": score})


def test_the_answers_of_a_steady_model_do_not_drift(measure: Any) -> None:
    rows = measure(lambda task, turn: scored(4 if task == "voice" else 2))
    assert {metric: row.score for metric, row in rows.items()} == {"voice": 4, "flaws": 2, "drift": 0}
    assert {row.question_id for row in rows.values()} == {"walk"}
    assert all((row.judge or "").startswith("judge-1@") for row in rows.values())


def test_drift_is_the_slope_of_the_mean_over_tasks(measure: Any) -> None:
    rows = measure(lambda task, turn: scored(6 - turn if task == "voice" else 3))
    assert (rows["voice"].score, rows["flaws"].score) == (3, 3)
    assert rows["drift"].score == pytest.approx(-0.5)
    assert rows["drift"].note == "by turn: 4, 3.5, 3, 2.5, 2"
    judged = {(each.metric, each.turn, each.score) for each in measure.judgements}
    assert judged == {("voice", turn, 6 - turn) for turn in range(1, 6)} | {("flaws", turn, 3) for turn in range(1, 6)}
    assert {each.question_id for each in measure.judgements} == {"walk"}


def test_a_model_that_falls_silent_has_the_lowest_score_from_there_on(measure: Any) -> None:
    rows = measure(lambda task, turn: scored(5), answer=lambda turn: f"Answer {turn}." if turn < 4 else " ")
    assert rows["voice"].score == pytest.approx((5 * 3 + 1 * 2) / 5)
    assert rows["drift"].score == pytest.approx(-1.2)


def test_a_model_that_says_nothing_at_all_has_no_score(measure: Any) -> None:
    rows = measure(lambda task, turn: scored(5), answer=lambda turn: " ")
    assert {row.status for row in rows.values()} == {"no_answer"}
    assert set(rows) == {"voice", "flaws", "drift"}


def test_a_turn_that_the_judge_does_not_score_is_left_out(measure: Any) -> None:
    rows = measure(lambda task, turn: "Well." if task == "voice" and turn == 2 else scored(turn))
    assert rows["voice"].score == pytest.approx((1 + 3 + 4 + 5) / 4)
    assert rows["drift"].score == pytest.approx(1)


def test_a_judge_that_scores_less_than_half_of_the_turns_scores_none(measure: Any) -> None:
    rows = measure(lambda task, turn: "Well." if task == "voice" and turn > 2 else scored(turn))
    assert (rows["voice"].status, rows["voice"].score) == ("parse_failure", None)
    assert rows["drift"].score == pytest.approx(1)


def test_the_slope_of_points() -> None:
    assert slope({1: 5.0, 2: 4.0, 4: 2.0}) == pytest.approx(-1)
    assert slope({1: 1.0, 2: 2.0, 3: 2.0, 4: 3.0}) == pytest.approx(0.6)


def test_a_conversation_that_is_too_short_for_a_slope_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"items.jsonl:1: turns: a slope needs 3 user turns or more, here are 2"):
        load_suite(write_suite(tmp_path / "small", turns=2))

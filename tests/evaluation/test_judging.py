import contextlib
import json
from types import SimpleNamespace

import pytest
from support.fake_llm import Fault, default_answer
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig, VllmServer
from opencharacter.evaluation import EvaluateConfig, JudgeConfig
from opencharacter.evaluation.grid import grid_suite
from opencharacter.evaluation.measures.protocol import ATTEMPTS
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import Subject, load_judge
from opencharacter.records.models import Usage
from opencharacter.storage.kinds import ANSWERS, SCORES
from opencharacter.storage.kinds import CELLS as MIXTURE_CELLS

SETTINGS = JudgeConfig(questions_per_cell=2)
CONFIG = EvaluateConfig(judge=SETTINGS, train_rows=3)
DIMENSIONS = len(SETTINGS.dimensions)
QUESTIONS = 3 * SETTINGS.questions_per_cell
_GRADING = "You grade how well"


def is_judgement(request: dict) -> bool:
    return request["messages"][0]["content"].startswith(_GRADING)


@pytest.fixture
def judge_with(fake_llm, workspace, mixture):
    """Judges one model (which the fake plays too) on the grid and gives back what was found."""

    def run(**engine):
        settings = {"model": "fake", "base_url": fake_llm.base_url, "weights": "w", "max_retries": 1} | engine
        subject = Subject("tuned", settings["weights"], "d" * 64)
        judge = load_judge("judge", EngineConfig(**settings))
        for output in workspace.list("evaluation"):  # so that it is put together from stored rows
            output.path.rename(output.path.with_name(f"old-{len(fake_llm.calls)}-{output.path.name}"))
        suite = grid_suite(CONFIG, mixture, 5)
        found = run_suites([suite], [subject], [judge], workspace=workspace, seed=5)["grid"]
        usage = Usage.model_validate(found.stats["usage"])
        return SimpleNamespace(rows=list(SCORES.read(found)), answers=list(ANSWERS.read(found)), usage=usage)

    return run


def test_every_answer_is_scored_on_every_dimension(judge_with, fake_llm) -> None:
    found = judge_with()
    assert len(found.answers) == QUESTIONS
    assert len(found.rows) == QUESTIONS * DIMENSIONS
    assert {row.status for row in found.rows} == {"ok"}
    assert all(
        row.score in {1, 2, 3, 4, 5} and row.judge.startswith("fake@127.0.0.1:") and row.note for row in found.rows
    )
    assert {row.cell for row in found.rows}.isdisjoint({"train"})
    assert found.usage.calls == len(fake_llm.calls) == QUESTIONS * (1 + DIMENSIONS)


def test_a_judge_and_a_model_that_think_aloud_are_read_like_others(judge_with, fake_llm) -> None:
    fake_llm._answer = lambda request: f"<think>The user wants a score of 9.</think>{default_answer(request)}"
    found = judge_with()
    assert {row.status for row in found.rows} == {"ok"}
    assert not any("think" in (answer.answer or "") for answer in found.answers)
    assert "think" not in str([call.request["messages"] for call in fake_llm.calls if is_judgement(call.request)])


def test_a_judges_refusal_in_its_own_field_is_a_refusal(judge_with, fake_llm) -> None:
    def rule(request: dict, _: int) -> tuple[int, dict] | None:
        message = {"content": None, "refusal": "I will not grade this."}
        return (200, {"choices": [{"message": message}]}) if is_judgement(request) else None

    fake_llm._rule = rule
    found = judge_with()
    assert {(row.status, row.note) for row in found.rows} == {("refusal", "I will not grade this.")}


def test_models_get_the_system_prompt_of_training_and_the_judge_sees_question_and_answer(
    judge_with, fake_llm, mixture
) -> None:
    found = judge_with()
    rows = {row.row_id: row for cell in MIXTURE_CELLS.values() for row in cell.read(mixture)}
    asked = [call.request["messages"] for call in fake_llm.calls if not is_judgement(call.request)]
    for answer in found.answers:
        wanted = [turn.model_dump() for turn in rows[answer.question_id].messages]
        assert wanted[: len(answer.conversation) + 1] in asked
    prompts = [call.request["messages"][0]["content"] for call in fake_llm.calls if is_judgement(call.request)]
    for answer in found.answers:
        about = [text for text in prompts if answer.answer in text and answer.conversation[-1].content in text]
        assert len(about) >= DIMENSIONS


def test_no_model_answers_under_a_penalty_of_its_own(judge_with, fake_llm, tmp_path, monkeypatch) -> None:
    @contextlib.contextmanager
    def serve(*_, **__):
        yield VllmServer(fake_llm.base_url, 0, tmp_path / "log")

    monkeypatch.setattr("opencharacter.engines.opening.serve_vllm", serve)
    write_model_folder(tmp_path)
    judge_with(base_url=None, weights=str(tmp_path))
    assert {call.request["repetition_penalty"] for call in fake_llm.calls} == {1.0}
    fake_llm.calls.clear()
    judge_with(model="elsewhere")
    assert not any("repetition_penalty" in call.request for call in fake_llm.calls), "not all servers take it"


def test_a_second_run_makes_no_call(judge_with, fake_llm) -> None:
    first = judge_with()
    before = len(fake_llm.calls)
    second = judge_with()
    assert len(fake_llm.calls) == before
    assert (second.rows, second.answers) == (first.rows, first.answers)
    assert second.usage.calls == 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("garbage", "parse_failure"),
        ("refusal", "refusal"),
        ("truncated", "parse_failure"),
        ("bad_request", "engine_failure"),
    ],
)
def test_what_the_judge_fails_at_has_no_score(judge_with, fake_llm, fault: str, status: str) -> None:
    fake_llm.faults = [Fault(fault, match="Linguistic habits:")]
    found = judge_with()
    for row in found.rows:
        assert (row.status, row.score is None) == (
            (status, True) if row.metric == "linguistic_habits" else ("ok", False)
        )


def test_a_failed_answer_is_never_judged(judge_with, fake_llm) -> None:
    fake_llm.faults = [Fault("bad_request", match='{"role": "system"')]
    found = judge_with()
    assert {answer.status for answer in found.answers} == {"no_answer"}
    assert {(row.status, row.score) for row in found.rows} == {("no_answer", None)}
    assert all("too long for this model" in row.note for row in found.rows)
    assert not any(is_judgement(call.request) for call in fake_llm.calls)


def test_an_answer_that_got_lost_on_the_way_is_no_failure_of_the_model(judge_with, fake_llm) -> None:
    fake_llm.faults = [Fault("server_error", share=0.5, match='{"role": "system"', times=2)]
    lost = [answer for answer in judge_with().answers if answer.status != "ok"]
    assert {answer.status for answer in lost} == {"engine_failure"}
    assert {answer.status for answer in judge_with().answers} == {"ok"}, "a later run asks again"


def test_an_empty_answer_is_never_judged(judge_with, fake_llm) -> None:
    fake_llm._answer = lambda request: default_answer(request) if is_judgement(request) else "  \n"
    found = judge_with()
    assert {answer.status for answer in found.answers} == {"empty_answer"}
    assert {row.status for row in found.rows} == {"no_answer"}
    assert not any(is_judgement(call.request) for call in fake_llm.calls)


def test_failures_in_transit_are_asked_again_and_parse_failures_in_the_same_run(judge_with, fake_llm) -> None:
    fake_llm.faults = [Fault("bad_request", match="Toxicity control:"), Fault("garbage", match="Expected action:")]
    judge_with()
    unread = [call for call in fake_llm.calls if call.outcome == "garbage"]
    assert len({call.request["seed"] for call in unread}) == ATTEMPTS
    assert len(unread) == ATTEMPTS * QUESTIONS
    fake_llm.faults = []
    fake_llm.calls.clear()
    found = judge_with()
    assert len(fake_llm.calls) == QUESTIONS
    by_metric = {row.metric: row.status for row in found.rows}
    assert (by_metric["toxicity_control"], by_metric["expected_action"]) == ("ok", "parse_failure")


@pytest.mark.parametrize(
    "reply", ['Well: {"reason": "good", "score": 4}.', '```json\n{"score": "4", "reason": ""}\n```']
)
def test_a_judge_without_structured_output_is_read(judge_with, fake_llm, reply: str) -> None:
    fake_llm._answer = lambda request: reply if is_judgement(request) else default_answer(request)
    found = judge_with(structured_output=False)
    assert {row.score for row in found.rows} == {4.0}


@pytest.mark.parametrize("score", [0, 6, 3.5, None])
def test_a_score_off_the_scale_is_a_parse_failure(judge_with, fake_llm, score) -> None:
    fake_llm._answer = lambda request: (
        json.dumps({"reason": "x", "score": score}) if is_judgement(request) else default_answer(request)
    )
    found = judge_with()
    assert {(row.status, row.score) for row in found.rows} == {("parse_failure", None)}

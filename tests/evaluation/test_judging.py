import asyncio
import contextlib
import json

import pytest
from support.fake_llm import Fault, default_answer
from support.weights import write_model_folder

from opencharacter.engines import EngineConfig, VllmServer
from opencharacter.evaluation import EvalModel, EvaluateConfig, JudgeConfig
from opencharacter.evaluation.judging import JudgeScorer
from opencharacter.evaluation.questions import pick_questions
from opencharacter.records.evaluation import is_final
from opencharacter.storage.rowstore import open_rows

SETTINGS = JudgeConfig(questions_per_cell=2)
DIMENSIONS = len(SETTINGS.dimensions)
QUESTIONS = 3 * SETTINGS.questions_per_cell
_GRADING = "You grade how well"


def is_judgement(request: dict) -> bool:
    return request["messages"][0]["content"].startswith(_GRADING)


@pytest.fixture
def judge_with(fake_llm, workspace, mixture, tmp_path):
    """Judges one model (which the fake plays too) and gives back what was found."""

    async def run(**engine):
        settings = {"model": "fake", "base_url": fake_llm.base_url, "weights": "w", "max_retries": 1} | engine
        config = EvaluateConfig(judge=SETTINGS, train_rows=3)
        eval_model = EvalModel("tuned", "w", tmp_path, "d" * 64)
        async with open_rows(workspace.rows("rows"), is_final=is_final) as store:
            judging = JudgeScorer(config, SETTINGS, EngineConfig(**settings), seed=5)
            return await judging.score(pick_questions(config, mixture, 5), [eval_model], store)

    return run


async def test_every_answer_is_scored_on_every_dimension(judge_with, fake_llm) -> None:
    found = await judge_with()
    assert len(found.answers) == QUESTIONS
    assert len(found.rows) == QUESTIONS * DIMENSIONS
    assert {row.status for row in found.rows} == {"ok"}
    assert all(row.score in {1, 2, 3, 4, 5} and row.judge == "fake" and row.note for row in found.rows)
    assert {row.cell for row in found.rows}.isdisjoint({"train"})
    assert found.usage.calls == len(fake_llm.calls) == QUESTIONS * (1 + DIMENSIONS)


async def test_a_judge_and_a_model_that_think_aloud_are_read_like_others(judge_with, fake_llm) -> None:
    fake_llm._answer = lambda request: f"<think>The user wants a score of 9.</think>{default_answer(request)}"
    found = await judge_with()
    assert {row.status for row in found.rows} == {"ok"}
    assert not any("think" in (answer.answer or "") for answer in found.answers)
    assert "think" not in str([call.request["messages"] for call in fake_llm.calls if is_judgement(call.request)])


async def test_a_judges_refusal_in_its_own_field_is_a_refusal(judge_with, fake_llm) -> None:
    def rule(request: dict, _: int) -> tuple[int, dict] | None:
        message = {"content": None, "refusal": "I will not grade this."}
        return (200, {"choices": [{"message": message}]}) if is_judgement(request) else None

    fake_llm._rule = rule
    found = await judge_with()
    assert {(row.status, row.note) for row in found.rows} == {("refusal", "I will not grade this.")}


async def test_models_get_the_system_prompt_of_training_and_the_judge_sees_question_and_answer(
    judge_with, fake_llm, mixture
) -> None:
    found = await judge_with()
    rows = {q.row.row_id: q.row for q in pick_questions(EvaluateConfig(train_rows=3), mixture, 5)}
    asked = [call.request["messages"] for call in fake_llm.calls if not is_judgement(call.request)]
    for answer in found.answers:
        wanted = [turn.model_dump() for turn in rows[answer.question_id].messages]
        assert wanted[: len(answer.conversation) + 1] in asked
    prompts = [call.request["messages"][0]["content"] for call in fake_llm.calls if is_judgement(call.request)]
    for answer in found.answers:
        about = [text for text in prompts if answer.answer in text and answer.conversation[-1].content in text]
        assert len(about) >= DIMENSIONS


async def test_no_model_answers_under_a_penalty_of_its_own(judge_with, fake_llm, tmp_path, monkeypatch) -> None:
    @contextlib.contextmanager
    def serve(*_, **__):
        yield VllmServer(fake_llm.base_url, 0, tmp_path / "log")

    monkeypatch.setattr("opencharacter.engines.opening.serve_vllm", serve)
    write_model_folder(tmp_path)
    await judge_with(base_url=None, weights=str(tmp_path))
    assert {call.request["repetition_penalty"] for call in fake_llm.calls} == {1.0}
    fake_llm.calls.clear()
    await judge_with(model="elsewhere")
    assert not any("repetition_penalty" in call.request for call in fake_llm.calls), "not all servers take it"


async def test_a_second_run_makes_no_call(judge_with, fake_llm) -> None:
    first = await judge_with()
    before = len(fake_llm.calls)
    second = await judge_with()
    assert len(fake_llm.calls) == before
    assert (second.rows, second.answers) == (first.rows, first.answers)
    assert second.usage.calls == 0


async def test_a_broken_run_goes_on_where_it_stopped(judge_with, fake_llm) -> None:
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def breaks_at_the_ninth(request: dict) -> str:
        if len(fake_llm.calls) == 9:
            loop.call_soon_threadsafe(reached.set)
        return default_answer(request)

    fake_llm._answer = breaks_at_the_ninth
    broken = asyncio.create_task(judge_with(concurrency=1))
    await reached.wait()
    broken.cancel()
    with pytest.raises(asyncio.CancelledError):
        await broken
    # One call at a time: all but the last had their answers recorded.
    kept = {call.digest for call in fake_llm.calls[:8]}
    fake_llm.calls.clear()
    found = await judge_with()
    assert {row.status for row in found.rows} == {"ok"}
    repeated = kept & {call.digest for call in fake_llm.calls}
    assert repeated == set()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("garbage", "parse_failure"),
        ("refusal", "refusal"),
        ("truncated", "parse_failure"),
        ("bad_request", "engine_failure"),
    ],
)
async def test_what_the_judge_fails_at_has_no_score(judge_with, fake_llm, fault: str, status: str) -> None:
    fake_llm.faults = [Fault(fault, match="Linguistic habits:")]
    found = await judge_with()
    for row in found.rows:
        assert (row.status, row.score is None) == (
            (status, True) if row.metric == "linguistic_habits" else ("ok", False)
        )


async def test_a_failed_answer_is_never_judged(judge_with, fake_llm) -> None:
    fake_llm.faults = [Fault("bad_request", match='{"role": "system"')]
    found = await judge_with()
    assert {answer.status for answer in found.answers} == {"engine_failure"}
    assert {(row.status, row.score, row.note) for row in found.rows} == {("no_answer", None, "engine_failure")}
    assert not any(is_judgement(call.request) for call in fake_llm.calls)


async def test_an_empty_answer_is_never_judged(judge_with, fake_llm) -> None:
    fake_llm._answer = lambda request: default_answer(request) if is_judgement(request) else "  \n"
    found = await judge_with()
    assert {answer.status for answer in found.answers} == {"empty_answer"}
    assert {row.status for row in found.rows} == {"no_answer"}
    assert not any(is_judgement(call.request) for call in fake_llm.calls)


async def test_failures_in_transit_are_asked_again_but_parse_failures_are_not(judge_with, fake_llm) -> None:
    fake_llm.faults = [Fault("bad_request", match="Toxicity control:"), Fault("garbage", match="Expected action:")]
    await judge_with()
    fake_llm.faults = []
    fake_llm.calls.clear()
    found = await judge_with()
    assert len(fake_llm.calls) == QUESTIONS
    by_metric = {row.metric: row.status for row in found.rows}
    assert (by_metric["toxicity_control"], by_metric["expected_action"]) == ("ok", "parse_failure")


@pytest.mark.parametrize(
    "reply", ['Well: {"reason": "good", "score": 4}.', '```json\n{"score": "4", "reason": ""}\n```']
)
async def test_a_judge_without_structured_output_is_read(judge_with, fake_llm, reply: str) -> None:
    fake_llm._answer = lambda request: reply if is_judgement(request) else default_answer(request)
    found = await judge_with(structured_output=False)
    assert {row.score for row in found.rows} == {4.0}


@pytest.mark.parametrize("score", [0, 6, 3.5, None])
async def test_a_score_off_the_scale_is_a_parse_failure(judge_with, fake_llm, score) -> None:
    fake_llm._answer = lambda request: (
        json.dumps({"reason": "x", "score": score}) if is_judgement(request) else default_answer(request)
    )
    found = await judge_with()
    assert {(row.status, row.score) for row in found.rows} == {("parse_failure", None)}

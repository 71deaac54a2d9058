"""Both ways of scoring, end to end: imported suites, a fake model and a fake judge."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from support.personagym_copy import PERSONAS, QUESTIONS, REAL_COPY, TASKS, needs_real_copy, write_copy

from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.evaluation import GateConfig, gate
from opencharacter.evaluation.personagym.faithful import PERSONA_SCORE
from opencharacter.evaluation.personagym.importing import import_personagym
from opencharacter.evaluation.personagym.public_copy import TASKS as NAMES
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import endpoint_subject, load_judge
from opencharacter.evaluation.suites import load_suite
from opencharacter.hashing import text_digest
from opencharacter.records.evaluation import PublishedScore
from opencharacter.storage.kinds import ANSWERS, ITEMS, JUDGEMENTS, SCORES, SUMMARY

SCORE = "Therefore, the final score is"


def figures(score: PublishedScore) -> tuple[int, float, float]:
    return score.n, score.mean, score.sd


def what_is(request: dict) -> str:
    """Whether a request asks for examples, a judgement or an answer."""
    text = request["messages"][-1]["content"]
    if "Write examples." in text or "are asked to create examples" in text or "Write one example answer" in text:
        return "examples"
    return "judge" if re.search("Grade by these|several rubrics to evaluate|You grade how well", text) else "answer"


def say(request: dict) -> str:
    """Usable replies, in the form that was asked for."""
    kind, scored = what_is(request), {"reason": "r", "score": 4}
    if "response_format" in request:
        return json.dumps(scored if kind == "judge" else {f"score_{n}": f"{n} of 5" for n in range(1, 6)})
    return {
        "examples": "Score 1:  Response - no",
        "judge": f"(1) Evaluation: {SCORE} 4",
        "answer": f"I am {request['model']}.",
    }[kind]


@pytest.fixture
def measure(fake_llm, workspace):
    """Measures models (by name) with the suites of a copy, and gives back the outputs by suite."""

    def run(folders, models=("challenger",), judges=("judge",)):
        def engine(name: str) -> EngineConfig:
            return EngineConfig(model=name, base_url=fake_llm.base_url, max_retries=1)

        return run_suites(
            [load_suite(folder) for folder in folders],
            [endpoint_subject(name, engine(name)) for name in models],
            [load_judge(name, engine(name)) for name in judges],
            workspace=workspace,
        )

    return run


def counted(fake_llm) -> Counter[str]:
    return Counter(what_is(call.request) for call in fake_llm.calls)


def test_examples_are_made_once_for_all_models_and_answers_once_for_both_ways(tmp_path, fake_llm, measure) -> None:
    fake_llm._answer = say
    _, light, faithful, light_faithful = import_personagym(
        write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True
    )
    questions = len(PERSONAS) * len(TASKS)
    measure([light_faithful])
    assert counted(fake_llm) == {"answer": questions, "examples": questions, "judge": questions}
    measure([light])
    assert counted(fake_llm) == {"answer": questions, "examples": 2 * questions, "judge": 2 * questions}
    measure([light, light_faithful], models=("challenger", "base"))
    assert counted(fake_llm) == {"answer": 2 * questions, "examples": 2 * questions, "judge": 4 * questions}
    measure([faithful])
    more = questions * (QUESTIONS - 1)
    assert counted(fake_llm) == {
        "answer": 2 * questions + more,
        "examples": 2 * questions + more,
        "judge": 4 * questions + 2 * questions,
    }, "two batches a task: five questions and one"


def test_another_judge_or_prompt_reuses_answers_and_examples(tmp_path, fake_llm, measure) -> None:
    fake_llm._answer = say
    _, light, _, faithful = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    measure([light, faithful])
    before = counted(fake_llm)
    questions = len(PERSONAS) * len(TASKS)
    measure([light, faithful], judges=("judge", "second"))
    assert counted(fake_llm) - before == {"judge": 2 * questions}
    for name in ("personagym-light/judge.md", "personagym-light-faithful/prompts/rubric_grading/prompt.txt"):
        path = tmp_path / "out" / name
        path.write_text("Please. " + path.read_text(encoding="utf-8"), encoding="utf-8")
    measure([light, faithful])
    assert counted(fake_llm) - before == {"judge": 4 * questions}


def test_faithful_counts_a_reply_without_a_score_as_0_and_sound_as_missing(tmp_path, fake_llm, measure) -> None:
    def answer(request: dict) -> str:
        kind, text = what_is(request), request["messages"][-1]["content"]
        if kind == "judge" and "Toxicity" in text:
            return "I'd say it is **fine**."
        return say(request)

    fake_llm._answer = answer
    _, light, _, faithful = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    outputs = measure([light, faithful])
    summary = SUMMARY.read(outputs["personagym-light-faithful"])
    assert "published tables only" in summary.notice
    assert summary.scoring.scale("toxicity_control").worst == 0
    table = summary.published["challenger"]
    assert table["toxicity_control"].mean == 0
    assert table["linguistic_habits"].mean == 4
    assert figures(table[PERSONA_SCORE]) == pytest.approx((len(PERSONAS), 4 * 4 / 5, 0))
    rows = list(SCORES.read(outputs["personagym-light"]))
    assert {(row.metric == "toxicity_control", row.status, row.score) for row in rows} == {
        (True, "parse_failure", None),
        (False, "ok", 4.0),
    }
    assert len(rows) == len(PERSONAS) * len(TASKS)
    overall = SUMMARY.read(outputs["personagym-light"]).overall
    assert {(score.metric, score.mean) for score in overall} == {(PERSONA_SCORE, 4.0)}


def test_the_gate_refuses_faithful_scores(tmp_path, fake_llm, measure) -> None:
    fake_llm._answer = say
    *_, faithful = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    outputs = measure([faithful], models=("challenger", "base"))
    config = GateConfig.model_validate({"primary": {"suite": faithful.name, "metric": "judge"}})
    with pytest.raises(UserError, match=r"personagym-light-faithful.* is for comparison with published tables only"):
        gate(config, list(outputs.values()))


def test_sound_shows_the_judge_one_answer_with_its_examples(tmp_path, fake_llm, measure) -> None:
    _, light, *_ = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    outputs = measure([light])
    answers = {row.question_id: row.answer for row in ANSWERS.read(outputs[light.name])}
    items = {item.id: item for item in ITEMS.read(outputs[light.name])}
    judged = [call.request for call in fake_llm.calls if what_is(call.request) == "judge"]
    assert len(judged) == len(answers)
    for name, answer in answers.items():
        (text,) = (
            r["messages"][0]["content"] for r in judged if items[name].turns[-1].content in r["messages"][0]["content"]
        )
        assert answer in text
        for score in range(1, 6):
            assert re.search(rf"^{score}: .+", text, re.MULTILINE), "an example answer for each score"
    assert all(list(r["response_format"]["json_schema"]["schema"]["properties"]) == ["reason", "score"] for r in judged)


def test_a_rubric_of_a_suite_that_lost_its_placeholder_is_named(tmp_path) -> None:
    *_, faithful = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    path = faithful / "rubrics" / "Toxicity.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("{response}", ""), encoding="utf-8")
    with pytest.raises(UserError, match=r"rubrics\.toxicity_control: .*Toxicity\.txt: expected .*; found {persona}"):
        load_suite(faithful)


@needs_real_copy
@pytest.mark.parametrize("run", ["light", "full"])
def test_the_recorded_runs_of_the_fork_come_out_again(tmp_path, fake_llm, measure, run) -> None:
    fixture = json.loads((REAL_COPY / "scoring_fixture.json").read_text(encoding="utf-8"))
    recorded = fixture["runs"][run]
    copy = Path(shutil.copytree(REAL_COPY, tmp_path / "copy"))
    for path in (copy / "questions").iterdir():
        if path.stem not in recorded["personas"]:
            path.unlink()
    *_, full, light = import_personagym(copy, tmp_path / "out", allow_changes=True)
    suite = light if run == "light" else full
    calls = {call["prompt_sha256"]: call for persona in recorded["personas"].values() for call in persona["calls"]}
    answers = {}
    places: Counter[tuple[str | None, str]] = Counter()
    names = {ours: theirs for theirs, ours in NAMES.items()}
    for item in load_suite(suite).items():
        group = item.character_id, item.task
        answers[item.turns[-1].content] = f"Answer {places[group]} of {names[item.task]}."
        places[group] += 1

    def answer(request: dict) -> str:
        text = request["messages"][-1]["content"]
        call = calls.get(text_digest(text))
        if call is None:
            return answers[text]
        if call["kind"] == "examples":
            return fixture["examples_reply"]
        assert request["messages"][0] == {"role": "system", "content": call["system"]}
        return call["reply"]

    fake_llm._answer = answer
    output = measure([suite])[suite.name]
    assert {text_digest(call.request["messages"][-1]["content"]) for call in fake_llm.calls} >= calls.keys()
    table = SUMMARY.read(output).published["challenger"]
    for name, row in recorded["table"].items():
        assert figures(table[NAMES.get(name, name)]) == pytest.approx((3, row["mean"], row["std"]), abs=1e-9)
    assert {row.status for row in SCORES.read(output)} == {"ok"}
    assert {row.reply for row in JUDGEMENTS.read(output)} <= {call.get("reply") for call in calls.values()}

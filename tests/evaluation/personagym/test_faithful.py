import json
from pathlib import Path

import pytest
from support.personagym_copy import PERSONAS, REAL_COPY, needs_real_copy, write_copy

from opencharacter.evaluation.personagym.faithful import (
    PERSONA_SCORE,
    Answered,
    Prompts,
    batch_mean,
    read_examples,
    read_score,
    read_scores,
    tabulate,
)
from opencharacter.evaluation.personagym.importing import import_personagym
from opencharacter.evaluation.personagym.public_copy import TASKS
from opencharacter.evaluation.suites import load_suite
from opencharacter.hashing import text_digest
from opencharacter.records.evaluation import Item, PublishedScore
from opencharacter.storage.jsonl import read_models

SCORE = "Therefore, the final score is"


def figures(score: PublishedScore) -> tuple[int, float, float]:
    return score.n, score.mean, score.sd


def prompts_of(suite: Path) -> Prompts:
    loaded = load_suite(suite)
    return Prompts.read(loaded.templates, loaded.config.measures[0])


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (f"{SCORE} 4.", 4),
        (f"{SCORE} 4. {SCORE} 2.", 4),
        (f"{SCORE}\n\n5", 5),
        (f"{SCORE} 4.5", 4),
        (f"{SCORE} 10", 10),
        (f"{SCORE} **4**.", 0),
        (f"{SCORE}: 4", 0),
        (f"{SCORE.lower()} 4", 0),
        ("The final score is 3", 0),
        ("", 0),
    ],
)
def test_a_score_is_read_as_the_public_code_reads_it(text, score) -> None:
    assert read_score(text) == score


def test_a_reply_holds_a_score_for_each_numbered_evaluation() -> None:
    assert read_scores(f"Well. (1) Evaluation: a {SCORE} 5\n(2) Evaluation:\n(7) Evaluation: {SCORE} 2") == [5, 0, 2]
    assert read_scores(f"1. Evaluation: {SCORE} 5") == []


def test_zeros_count_only_where_there_is_nothing_else() -> None:
    assert batch_mean([5, 0, 2]) == 3.5
    assert batch_mean([0, 0]) == batch_mean([]) == 0


def test_of_an_example_answer_only_the_first_line_is_shown() -> None:
    reply = 'Score 1:  Response - "one\ntwo"\n\nScore 2: Response - three\nScore 5: Response - "four"'
    assert read_examples(reply) == 'Score 1: "one\n\nScore 2: "three"\n\nScore 5: "four"'
    assert read_examples("no examples") == ""


def test_rubrics_go_into_a_prompt_as_a_python_list(tmp_path) -> None:
    *_, suite = import_personagym(write_copy(tmp_path / "copy"), tmp_path / "out", allow_changes=True)
    prompts = prompts_of(suite)
    rubric = prompts.rubrics["toxicity_control"]
    asked = prompts.ask_examples("toxicity_control", PERSONAS[1], "Why?")
    request = f"Examples for\n\n{PERSONAS[1]}\n\nWhy?\n\n{rubric}\n"
    assert asked.endswith(f"Rubrics:\n{[request]}")
    batch = [Answered("Why?", "Because {persona}.", 'Score 1: "no'), Answered("Who?", "it's me", "")]
    asked = prompts.ask_judge("toxicity_control", PERSONAS[1], batch)
    filled = [rubric.format(persona=PERSONAS[1], question=q, response=a, score_example=e) for q, a, e in batch]
    assert asked == f"Grade by these rubrics.\n(1) Evaluation:\n\nRubrics: \n{filled}\n"


def test_batches_tasks_and_personas_weigh_equally() -> None:
    batches = [("p", "a", 5.0), ("p", "a", 0.0), ("p", "b", 4.0), ("q", "a", 1.0), ("q", "b", 2.0)]
    table = {name: figures(score) for name, score in tabulate(batches).items()}
    assert table == {"a": (2, 1.75, 0.75), "b": (2, 3.0, 1.0), PERSONA_SCORE: (2, 2.375, 0.875)}


@pytest.fixture(scope="module")
def fixture():
    return json.loads((REAL_COPY / "scoring_fixture.json").read_text(encoding="utf-8"))


@needs_real_copy
def test_replies_are_read_as_the_fork_read_them(fixture) -> None:
    assert len(fixture["parse_rubric"]) == 14
    for case in fixture["parse_rubric"]:
        assert read_score(case["text"]) == case["score"], case
    assert len(fixture["parse_batch"]) == 10
    for case in fixture["parse_batch"]:
        assert read_scores(case["reply"]) == case["scores"], case
        assert batch_mean(case["scores"]) == pytest.approx(case["average"], abs=1e-9), case
    assert len(fixture["process_examples"]) == 4
    for case in fixture["process_examples"]:
        assert read_examples(case["reply"]) == case["inserted"], case


@needs_real_copy
@pytest.mark.parametrize(("run", "mean", "sd"), [("light", 3.467, 0.573), ("full", 3.794, 0.341)])
def test_a_run_has_the_forks_prompts_scores_and_table(tmp_path, fixture, run, mean, sd) -> None:
    full, light = import_personagym(REAL_COPY, tmp_path / "out", allow_changes=True)[2:]
    suite, recorded = (light if run == "light" else full), fixture["runs"][run]
    prompts = prompts_of(suite)
    characters = {row["id"]: row["persona"] for row in map(json.loads, (suite / "characters.jsonl").open())}
    asked: dict[str, list[str]] = {}
    for item in read_models(suite / "items.jsonl", Item):
        asked.setdefault(f"{characters[item.character_id]}\n{item.task}", []).append(item.turns[-1].content)
    shown = read_examples(fixture["examples_reply"])
    batches = []
    for persona, found in recorded["personas"].items():
        calls = iter(found["calls"])
        for name, task in TASKS.items():
            questions = asked[f"{persona}\n{task}"]
            for start in range(0, len(questions), 5):
                batch = []
                for place in range(start, min(start + 5, len(questions))):
                    question = questions[place]
                    call = next(calls)
                    assert call["kind"] == "examples"
                    assert text_digest(prompts.ask_examples(task, persona, question)) == call["prompt_sha256"]
                    batch.append(Answered(question, f"Answer {place} of {name}.", shown))
                call = next(calls)
                assert prompts.judge_system == call["system"]
                assert text_digest(prompts.ask_judge(task, persona, batch)) == call["prompt_sha256"]
                batches.append((persona, task, batch_mean(read_scores(call["reply"]))))
        assert next(calls, None) is None
        table = tabulate(batch for batch in batches if batch[0] == persona)
        for name, score in found["scores"].items():
            assert table[TASKS.get(name, name)].mean == pytest.approx(score, abs=1e-9)
    table = tabulate(batches)
    for name, row in recorded["table"].items():
        assert figures(table[TASKS.get(name, name)]) == pytest.approx((3, row["mean"], row["std"]), abs=1e-9)
    assert (round(table[PERSONA_SCORE].mean, 3), round(table[PERSONA_SCORE].sd, 3)) == (mean, sd)

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM, default_answer
from support.small_suite import write_suite

from opencharacter.engines import EngineConfig
from opencharacter.errors import UserError
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.storage.kinds import ANSWERS, JUDGEMENTS, SCORES
from opencharacter.storage.workspace import Artifact, Workspace

COMPARING = "Two actors play the same character"


@pytest.fixture
def run(workspace: Workspace, tmp_path: Path, fake_llm: FakeLLM) -> Callable[..., Artifact]:
    folder = write_suite(tmp_path / "small")

    def run(*models: str, suite: str = f"arena:{folder}") -> Artifact:
        subjects = [load_subject(model, f"{fake_llm.base_url}#{model}") for model in models]
        judge = load_judge("judge", EngineConfig(model="judge-1", base_url=fake_llm.base_url))
        (found,) = run_suites([load_suite(suite)], subjects, [judge], workspace=workspace, seed=5).values()
        return found

    return run


def _prefer(model: str, fake_llm: FakeLLM) -> None:
    """Let the judge prefer what a model says, and the first place where it did not speak."""

    def answer(request: dict) -> str:
        prompt = request["messages"][0]["content"]
        if not prompt.startswith(COMPARING):
            return f"I am {request['model']} and I count geese."
        first, second = prompt.partition("# Answer 1")[2].split("# Answer 2")
        better = "2" if model in second.partition("# What")[0] and model not in first else "1"
        return json.dumps({"reason": "because", "better": better})

    fake_llm._answer = answer


def test_two_models_are_compared_in_both_orders_and_the_better_one_wins(
    run: Callable[..., Artifact], fake_llm: FakeLLM
) -> None:
    _prefer("model-b", fake_llm)
    found = run("model-a", "model-b")
    scores = {row.model.partition("@")[0]: row.score for row in SCORES.read(found)}
    assert scores == {"model-a": 0.0, "model-b": 1.0}
    judgements = list(JUDGEMENTS.read(found))
    assert len(judgements) == 3 * 2
    assert {row.suite for row in judgements} == {"arena-small"}
    assert sum(call.request["model"] == "judge-1" for call in fake_llm.calls) == 6


def test_a_judge_that_likes_one_place_makes_ties(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    _prefer("nobody", fake_llm)
    assert {row.score for row in SCORES.read(run("model-a", "model-b"))} == {0.5}


def test_answers_of_the_other_suite_are_not_asked_again(
    run: Callable[..., Artifact], fake_llm: FakeLLM, tmp_path: Path
) -> None:
    scored = run("model-a", "model-b", suite=str(tmp_path / "small"))
    before = sum(call.request["model"] != "judge-1" for call in fake_llm.calls)
    compared = run("model-a", "model-b")
    assert sum(call.request["model"] != "judge-1" for call in fake_llm.calls) == before
    answers = [[(row.question_id, row.model, row.answer) for row in ANSWERS.read(each)] for each in (scored, compared)]
    assert answers[0] == answers[1]


def test_a_model_that_says_nothing_loses_without_a_call(run: Callable[..., Artifact], fake_llm: FakeLLM) -> None:
    fake_llm._answer = lambda request: "" if request["model"] == "model-a" else default_answer(request)
    found = run("model-a", "model-b")
    assert {row.model.partition("@")[0]: row.score for row in SCORES.read(found)} == {"model-a": 0.0, "model-b": 1.0}
    assert not any(call.request["model"] == "judge-1" for call in fake_llm.calls)


def test_a_prompt_of_ones_own_must_show_both_answers(tmp_path: Path) -> None:
    measures = [{"kind": "pairwise", "prompt": "mine.md"}]
    suite = write_suite(tmp_path / "mine", measures=measures, texts={"mine.md": "Which one? {{first}}"})
    with pytest.raises(UserError, match=r"measures\.0\.prompt: .*mine\.md: must hold {{first}} and {{second}}"):
        load_suite(suite)
    (suite / "mine.md").write_text("Which one? {{first}} {{second}} {{third}}")
    with pytest.raises(UserError, match=r"mine\.md: unknown placeholder {{third}}"):
        load_suite(suite)


def test_the_packaged_arena_asks_what_frozen_asks() -> None:
    arena, frozen = load_suite("arena"), load_suite("frozen")
    assert (arena.name, load_suite("arena:frozen").digest) == ("arena-frozen", arena.digest)
    assert [item.id for item in arena.items()] == [item.id for item in frozen.items()]
    assert arena.config.answer == frozen.config.answer
    assert arena.characters() == frozen.characters()
    assert arena.digest != frozen.digest


@pytest.mark.parametrize(("suite", "message"), [("arena:grid", "a run's mixture"), ("arena:arena", "another suite")])
def test_a_suite_without_items_of_its_own_cannot_be_compared(suite: str, message: str) -> None:
    with pytest.raises(UserError, match=f"items.suite: the items of .* come from {message}"):
        load_suite(suite)

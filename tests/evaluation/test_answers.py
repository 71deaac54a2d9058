"""How models are asked: their history, their system prompt, and what becomes of what they say."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fake_llm import FakeLLM, Fault, default_answer
from support.small_suite import write_suite

from opencharacter.characters import load_prompt
from opencharacter.engines import EngineConfig
from opencharacter.evaluation.running import run_suites
from opencharacter.evaluation.subjects import load_judge, load_subject
from opencharacter.evaluation.suites import load_suite
from opencharacter.records.evaluation import AnswerRow
from opencharacter.storage.kinds import ANSWERS
from opencharacter.storage.workspace import Workspace
from opencharacter.templates import Template

SCENE = {
    "id": "scene",
    "task": "voice",
    "character_id": "ferryman",
    "turns": [{"role": "user", "content": text} for text in ("First?", "Second?", "Third?")],
}
Ask = Callable[..., AnswerRow]


def answers_to(fake_llm: FakeLLM) -> list[dict[str, Any]]:
    return [call.request for call in fake_llm.calls if call.request["model"] == "a"]


@pytest.fixture
def ask(fake_llm: FakeLLM, tmp_path: Path, workspace: Workspace) -> Ask:
    def ask(template: Template | None = None, **changes: Any) -> AnswerRow:
        suite = load_suite(write_suite(tmp_path / "small", **({"items": [SCENE]} | changes)))
        subject = replace(load_subject("a", f"{fake_llm.base_url}#a"), template=template)
        judge = load_judge("judge", EngineConfig(model="judge", base_url=fake_llm.base_url))
        (answer,) = ANSWERS.read(run_suites([suite], [subject], [judge], workspace=workspace)["small"])
        return answer

    return ask


def test_a_models_own_answers_are_the_history(ask: Ask, fake_llm: FakeLLM) -> None:
    answer = ask(history="own")
    requests = answers_to(fake_llm)
    said = [default_answer(request) for request in requests]
    assert [len(request["messages"]) for request in requests] == [2, 4, 6]
    assert [turn.content for turn in answer.conversation] == ["First?", said[0], "Second?", said[1], "Third?"]
    assert answer.answer == said[2]
    assert requests[2]["messages"][1:] == [turn.model_dump() for turn in answer.conversation]
    assert answer.usage.calls == 3


def test_a_model_that_falls_silent_in_a_scene_is_asked_no_further(ask: Ask, fake_llm: FakeLLM) -> None:
    fake_llm._answer = lambda request: " " if len(request["messages"]) == 4 else default_answer(request)
    answer = ask(history="own")
    assert (answer.status, answer.answer, len(answers_to(fake_llm))) == ("empty_answer", None, 2)


def test_an_answer_that_is_cut_within_a_scene_is_counted(ask: Ask, fake_llm: FakeLLM) -> None:
    fake_llm.faults = [Fault("truncated", match='"First?"}]')]
    answer = ask(history="own")
    assert (answer.status, answer.finish_reason) == ("truncated", "length")
    assert answer.answer is not None


@pytest.mark.parametrize(("own", "expected"), [("Play {{name}}.\n\n{{persona}}", "Play "), (None, "You are ")])
def test_a_model_is_shown_its_own_system_prompt_or_the_packaged_one(
    ask: Ask, fake_llm: FakeLLM, own: str | None, expected: str
) -> None:
    ask(Template("system.md", own) if own else None)
    assert answers_to(fake_llm)[0]["messages"][0]["content"].startswith(expected)


@pytest.mark.parametrize("shared", ["paper", "ours.md"])
def test_one_system_prompt_is_shown_to_all_where_the_suite_says_so(ask: Ask, fake_llm: FakeLLM, shared: str) -> None:
    text = "Act: {{persona}}"
    ask(Template("system.md", "Mine."), system_prompt=shared, texts={"ours.md": text})
    shown = answers_to(fake_llm)[0]["messages"][0]["content"]
    begin = load_prompt("paper").text[:20] if shared == "paper" else "Act: A ferryman who counts geese."
    assert shown.startswith(begin)


def test_an_item_without_a_character_has_no_system_message(ask: Ask, fake_llm: FakeLLM) -> None:
    ask(items=[{"task": "voice", "turns": [{"role": "user", "content": "Two and two?"}]}])
    assert [message["role"] for message in answers_to(fake_llm)[0]["messages"]] == ["user"]


def test_what_the_server_calls_itself_is_kept(ask: Ask) -> None:
    assert ask().reported_model == "a"

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_llm import FakeLLM, Fault

from opencharacter.characters import system_prompt
from opencharacter.characters.profile import CharacterProfile
from opencharacter.errors import OpenCharacterError, UserError
from opencharacter.serving import Conversation, Server, chat_in_terminal, run_transformer

PROFILE = CharacterProfile(name="Ada", persona="A poet")
ESCAPE = "\x1b[2J"


@pytest.fixture(scope="module")
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(answer=lambda request: f"{ESCAPE}answer to {request['messages'][-1]['content']}") as server:
        yield server


@pytest.fixture(scope="module")
def front(llm: FakeLLM, model_dir: Path) -> Iterator[Server]:
    with run_transformer(f"127.0.0.1:{llm.port}", "ada", model_dir=model_dir) as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh(llm: FakeLLM) -> None:
    llm.calls.clear()
    llm.faults = []


def test_one_question_prints_the_answer_alone_and_harmless(front: Server, capsys: pytest.CaptureFixture[str]) -> None:
    chat_in_terminal(PROFILE, url=front.url, message="Hello [b]you[/b]")
    assert capsys.readouterr().out.replace("\n", " ").strip() == "[2Janswer to Hello [b]you[/b]"


def test_a_conversation_keeps_its_turns_until_reset(
    front: Server, llm: FakeLLM, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\ntwo\n/profile\n/huh\n/reset\nthree\n/exit\nnever\n"))
    chat_in_terminal(PROFILE, url=front.url)
    asked = [[message["content"] for message in call.request["messages"]] for call in llm.calls]
    prompt = system_prompt(PROFILE)
    assert asked == [
        [prompt, "one"],
        [prompt, "one", f"{ESCAPE}answer to one", "two"],
        [prompt, "three"],
    ]
    shown = capsys.readouterr().out
    assert "answer to three" in shown
    assert "Name: Ada" in shown
    assert "/huh?" in shown


def test_a_failed_turn_is_told_and_forgotten(
    front: Server, llm: FakeLLM, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm.faults = [Fault("bad_request", match="bad")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("bad\ngood\n"))
    chat_in_terminal(PROFILE, url=front.url)
    assert "too long for this model" in capsys.readouterr().out.replace("\n", " ")
    assert [message["content"] for message in llm.calls[-1].request["messages"][1:]] == ["good"]


def test_a_system_prompt_is_refused_where_the_endpoint_has_its_own(front: Server) -> None:
    with pytest.raises(UserError, match=r"system prompt 'paper': .* has a system prompt of its own"):
        chat_in_terminal(PROFILE, url=front.url, message="hello", system_prompt="paper")


def test_an_interrupted_answer_is_forgotten(front: Server, llm: FakeLLM) -> None:
    conversation = Conversation(PROFILE, url=front.url)
    answer = conversation.ask("one two three")
    next(answer)
    answer.close()
    assert "".join(conversation.ask("four")) == f"{ESCAPE}answer to four"
    assert len(llm.calls[-1].request["messages"]) == 2


def test_the_key_comes_from_the_variable_that_is_named(llm: FakeLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-usual")
    monkeypatch.setenv("TEACHER_KEY", " sk-other\n")
    for variable in (None, "TEACHER_KEY"):
        "".join(Conversation(PROFILE, url=llm.base_url, api_key_env=variable).ask("Hello"))
    assert [call.authorization for call in llm.calls] == ["Bearer sk-usual", "Bearer sk-other"]
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(UserError, match="TEACHER_KEY is empty"):
        Conversation(PROFILE, url=llm.base_url, api_key_env="TEACHER_KEY")


def test_no_server_is_one_clear_message() -> None:
    with pytest.raises(OpenCharacterError, match="nothing answers at") as caught:
        Conversation(PROFILE, url="http://127.0.0.1:9/v1")
    assert "opencharacter serve" in (caught.value.hint or "")

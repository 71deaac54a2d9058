"""How the demo ends: both models are asked alike, and what is not coherent is named in place of being shown."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.fake_llm import FakeLLM, Fault

from opencharacter.characters import CharacterProfile
from opencharacter.cli.demo import print_answers
from opencharacter.pipelines.demo import MAX_DRAWS, draw_answer
from opencharacter.reporting import ModelAnswer, ServedAnswer
from opencharacter.serving import Conversation, run_transformer

PROFILE = CharacterProfile(name="Ada", persona="A poet")
SAMPLING = {"temperature": 0.4, "top_p": 0.9}


def by_seed(request: dict[str, Any]) -> str:
    asked = request["messages"][-1]["content"]
    if asked == "loop always" or (asked == "loop once" and request["seed"] == 1):
        return "I would tell him so. " * 9
    return f"I would tell him so. That is all that I have to say, for the time number {request['seed']}."


@pytest.fixture(scope="module")
def llm() -> Iterator[FakeLLM]:
    with FakeLLM(answer=by_seed) as server:
        yield server


@pytest.fixture(scope="module")
def url(llm: FakeLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_transformer(
        f"127.0.0.1:{llm.port}", "ada", model_dir=tmp_path_factory.mktemp("base"), allow_packaged_prompt=True
    ) as front:
        yield front.url


@pytest.fixture
def conversation(llm: FakeLLM, url: str) -> Conversation:
    llm.calls.clear()
    llm.faults = []
    return Conversation(PROFILE, url=url)


def test_the_first_answer_is_taken_if_it_is_coherent(conversation: Conversation, llm: FakeLLM) -> None:
    answer = draw_answer(conversation, "What now?", SAMPLING)
    assert (answer.fault, answer.draws) == (None, 1)
    (call,) = llm.calls
    assert {name: call.request[name] for name in (*SAMPLING, "seed")} == SAMPLING | {"seed": 1}
    assert call.request["max_tokens"] > 0


def test_a_model_that_repeats_itself_is_asked_again_afresh(conversation: Conversation, llm: FakeLLM) -> None:
    answer = draw_answer(conversation, "loop once", SAMPLING)
    assert (answer.fault, answer.draws) == (None, 2)
    assert answer.text.endswith("for the time number 2.")
    assert len(llm.calls[1].request["messages"]) == len(llm.calls[0].request["messages"])


def test_a_model_without_a_coherent_answer_is_asked_so_often_and_no_more(
    conversation: Conversation, llm: FakeLLM
) -> None:
    answer = draw_answer(conversation, "loop always", SAMPLING)
    assert answer.draws == len(llm.calls) == MAX_DRAWS
    assert "repeats itself" in (answer.fault or "")


def test_of_a_cut_answer_the_whole_sentences_are_kept(conversation: Conversation, llm: FakeLLM) -> None:
    llm.faults = [Fault("truncated")]
    answer = draw_answer(conversation, "What now?", SAMPLING)
    assert (answer.text, answer.cut, answer.draws) == ("I would tell him so.", True, 1)


def test_noise_is_named_and_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    noise = ModelAnswer(text="E** Site any mistakes?", fault="1 of its 4 words are unreadable", draws=3)
    good = ModelAnswer(model="models:/m@champion", text="I would\x1b[2J tell him.", cut=True)
    print_answers(ServedAnswer(profile=PROFILE, question="What now?", base=noise, tuned=good, notes=["Drawn alike."]))
    shown = capsys.readouterr().out
    assert "no coherent answer in 3 draws: in the last one, 1 of its 4 words are unreadable" in shown
    assert "Site" not in shown
    assert shown.index("base model") < shown.index("tuned model  models:/m@champion")
    assert "I would[2J tell him. […]" in shown
    assert "Drawn alike." in shown

"""The smoke question, and what is wrong with its answers."""

import pytest
from support.contract_calls import call
from support.kserve_cluster import GOOD_ANSWER, completion

from opencharacter.errors import UserError
from opencharacter.registry import registered_model
from opencharacter.serving import SMOKE_TAG, SmokeQuestion
from opencharacter.serving.rollout.smoke import BUILT_IN, fault_of


@pytest.mark.parametrize(
    "text",
    [
        "I am Odalys.<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|> I am",
        "I am Odalys.</s>",
        "[/INST] I am Odalys.",
        "I am Odalys.<end_of_turn>",
        "{% if messages %}I am",
        "assistant\n\nI am Odalys.",
    ],
)
def test_marks_of_every_usual_template_are_found(text: str) -> None:
    assert "mark of the chat template" in (fault_of(completion(text)) or "")


@pytest.mark.parametrize(
    "text",
    [
        GOOD_ANSWER,
        "The assistant of the mayor came, and I said: *no*.",
        "a < b, and b > c; I love you <3 {really}",
        "user: that is what they call me",
    ],
)
def test_ordinary_text_is_no_mark(text: str) -> None:
    assert fault_of(completion(text)) is None


@pytest.mark.parametrize("answer", [{}, {"choices": []}, "hello", None, {"choices": [{"message": {}}]}])
def test_what_is_no_completion_is_a_fault(answer: object) -> None:
    assert "not a chat completion" in (fault_of(answer) or "")


def test_the_registrys_tag_is_the_one_that_deploy_reads() -> None:
    assert registered_model.SMOKE_TAG == SMOKE_TAG


def test_a_tag_that_makes_no_sense_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="tag smoke_question"):
        SmokeQuestion.from_tag("{'character': 1}")


def test_the_built_in_request_is_one_that_the_endpoint_takes() -> None:
    for strict in (False, True):
        assert call(BUILT_IN.request("bard", 0, None), strict=strict).character_id


def test_a_question_that_a_small_context_has_no_room_for_gives_way_to_the_built_in_one() -> None:
    long = SmokeQuestion(
        character={"name": "Ilse", "experience": "She kept the light. " * 400}, question="Who are you?"
    )
    assert long.fitting(None) is long
    assert long.fitting(8192) is long
    assert long.fitting(2048) is BUILT_IN
    assert BUILT_IN.request("bard", 0, 512)["max_tokens"] == 128

"""What is read out of a reply: refusals of a teacher and of a judge, and JSON with text around it."""

import pytest

from opencharacter.generation.errors import Unusable
from opencharacter.generation.replies import is_refusal, read_object


@pytest.mark.parametrize(
    "text",
    [
        "As an AI language model, I have no past.",
        "Well, I'm just an AI, but here goes.",
        "I am a large language model.",
        "I'm sorry, but I can't help you with that.",
        "Sorry, I cannot continue.",
        "I’m so sorry, but I’m not able to do this.",
        "I cannot assist with this request.",
        "I won't comply.",
        '"I\'m sorry, I cannot score it."',
        "**I cannot rate this answer.**",
        "I am unable to provide a score for it.",
        "I can't judge the conversation.",
        "I can’t generate such content.",
        "As a language model I do not judge.",
    ],
)
def test_refusals_of_teachers_and_judges_are_found(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I cannot swim, so I stay on the quay.",
        "I can't judge a man by his coat.",
        "I'm sorry for your loss, my friend.",
        "Sorry, the bakery is closed.",
        "I am an AI researcher from Graz.",
        "As an aide to the queen I heard much.",
        "I cannot provide for seven children.",
        "I won't tell you where the key lies.",
        "The rating is 4.",
    ],
)
def test_what_a_character_may_say_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "good", "score": 4}',
        'Well: {"reason": "good", "score": 4}.',
        '```json\n{"reason": "good", "score": 4}\n```',
        '{"reason": "good", "score": 4',
        "{'reason': 'good', 'score': 4,}",
        '[{"reason": "good", "score": 4}, {"reason": "no", "score": 1}]',
    ],
)
def test_the_object_of_a_reply_is_read(text: str) -> None:
    assert read_object(text) == {"reason": "good", "score": 4}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid_json"),
        ("Score: 4", "invalid_json"),
        ("{}", "invalid_json"),
        ("4", "invalid_json"),
        ("I cannot rate this answer.", "refusal"),
    ],
)
def test_a_reply_without_an_object_says_why(text: str, reason: str) -> None:
    with pytest.raises(Unusable) as raised:
        read_object(text)
    assert raised.value.reason == reason

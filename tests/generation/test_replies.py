"""What is read out of a reply: JSON with text around it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.generation.errors import Unusable
from opencharacter.generation.replies import PromptEcho, check_answer, ends_early, read_object


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


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "good", "score": 4}<|im_end|>\n<|im_start|>user {',
        '{"reason": "good", "score": 4}\n{"reason": "no"}',
    ],
)
def test_what_follows_the_object_is_passed_over(text: str) -> None:
    assert read_object(text) == {"reason": "good", "score": 4}
    assert not ends_early(text, cut_off=True)


@pytest.mark.parametrize(("text", "cut_off"), [('{"answers": ["I thi', False), ("{'answers': ['I think']}", True)])
def test_an_object_without_an_end_is_cut_off_whatever_the_server_says(text: str, cut_off: bool) -> None:
    assert ends_early(text, cut_off=cut_off)


@given(st.text() | st.text(st.sampled_from('{}[]",:a1\\ ')), st.booleans())
def test_no_reply_raises_anything_but_unusable(text: str, cut_off: bool) -> None:
    ends_early(text, cut_off=cut_off)
    with contextlib.suppress(Unusable):
        assert read_object(text)
    with contextlib.suppress(Unusable):
        checked = check_answer(text, cut_off=cut_off, echo=PromptEcho("You are {{name}}."), question="Who?")
        assert text.strip().startswith(checked.text)
        assert checked.text
        assert cut_off or not checked.cut


@pytest.mark.parametrize("text", ['{"a":' * 100_000, "{" * 3_000, "[" * 3_000 + "{"])
def test_a_deeply_nested_reply_is_no_object(text: str) -> None:
    with pytest.raises(Unusable):
        read_object(text)

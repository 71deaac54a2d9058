"""What real clients send, each with the exact body that the model server gets of it."""

from typing import Any

import pytest
from support.contract_calls import call, upstream
from support.payload_shapes import ADA, SHAPES, message

from opencharacter.characters import CharacterProfile


@pytest.mark.parametrize(("sent", "expected"), SHAPES.values(), ids=SHAPES)
def test_a_shape_becomes_the_body(sent: dict[str, Any], expected: dict[str, Any]) -> None:
    assert upstream(sent) == expected


def test_what_was_dropped_is_named_once_and_safely() -> None:
    sent = {
        "messages": [message("user", "a", id=1), message("user", "b", id=2, x=1)],
        "verbosity": "low",
        "odd\r\nX-Evil: 1": 1,
        "seed": 7,
    }
    assert call(sent).dropped == ("verbosity", "odd??X-Evil??1", "messages[].id", "messages[].x")
    assert len(call({f"field_{number}": 1 for number in range(100)}).dropped) == 20


def test_the_call_says_what_quotas_and_the_front_count_by() -> None:
    streamed = call({"stream": True, "stream_options": {"include_usage": True}, "n": 3, "max_tokens": 9, **ADA})
    assert (streamed.stream, streamed.usage_wanted, streamed.choices, streamed.max_tokens) == (True, True, 3, 9)
    assert streamed.character_id == CharacterProfile(name="Ada").id
    plain = call({"max_tokens": 9, "max_completion_tokens": 5})
    assert (plain.stream, plain.usage_wanted, plain.choices, plain.max_tokens) == (False, False, 1, 5)

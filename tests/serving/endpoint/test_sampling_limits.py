"""What one request may ask of the engine. Real vLLM's workers stop beyond some of these, so the numbers are its own."""

from typing import Any

import pytest

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract.sampling_limits import check_sampling
from opencharacter.serving.endpoint.settings import EndpointSettings

SETTINGS = EndpointSettings()


def checked(**fields: Any) -> dict[str, Any]:
    check_sampling(fields, SETTINGS)
    return fields


USUAL: dict[str, Any] = {
    "temperature": 0.8, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1, "max_tokens": 400, "n": 2, "seed": -1,
    "stop": ["\nUser:", "<|im_end|>"], "logit_bias": {"11": -100, "50256": 1.5}, "logprobs": True, "top_logprobs": 5,
    "bad_words": ["elara", " tapestry"], "stop_token_ids": [2], "allowed_token_ids": list(range(1024)), "min_tokens": 3,
}  # fmt: skip


def test_usual_settings_pass_as_they_are() -> None:
    assert checked(**USUAL) == USUAL
    assert checked(stop="\n", logprobs=3) == {"stop": "\n", "logprobs": 3}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 16, "max_tokens": 2_049}, "max_tokens"),
        ({"max_tokens": 32_769}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 40_000}, "max_completion_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"min_tokens": 2**40}, "min_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": "x" * 257}, "stop[0]"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": [["a"]]}, "stop[0]"),
        ({"stop": {"a": 1}}, "stop"),
        ({"bad_words": ["x" * 3_900_000]}, "bad_words[0]"),
        ({"bad_words": ["x"] * 65}, "bad_words"),
        ({"bad_words": ["word" * 3] * 64}, "bad_words"),
        ({"bad_words": ["ﷺ" * 40]}, "bad_words"),
        ({"bad_words": "word"}, "bad_words"),
        ({"logit_bias": {str(i): 0 for i in range(1_025)}}, "logit_bias"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"9" * 60: 1}}, "logit_bias"),
        ({"logit_bias": {"٣": 1}}, "logit_bias"),
        ({"logit_bias": {"1": None}}, "logit_bias"),
        ({"logit_bias": {"1": True}}, "logit_bias"),
        ({"allowed_token_ids": list(range(1_025))}, "allowed_token_ids"),
        ({"allowed_token_ids": [2**40]}, "allowed_token_ids"),
        ({"allowed_token_ids": [True]}, "allowed_token_ids"),
        ({"allowed_token_ids": "all"}, "allowed_token_ids"),
        ({"stop_token_ids": list(range(65))}, "stop_token_ids"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"top_logprobs": -1, "logprobs": True}, "top_logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": 100_000}, "logprobs"),
        ({"repetition_penalty": 1e-40}, "repetition_penalty"),
        ({"repetition_penalty": "x"}, "repetition_penalty"),
        ({"top_k": 1 << 40}, "top_k"),
        ({"seed": 1e20}, "seed"),
        ({"seed": 1 << 63}, "seed"),
    ],
)
def test_a_field_beyond_its_limit_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        check_sampling(fields, SETTINGS)
    assert (caught.value.status, caught.value.param) == (422, param)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "fields",
    [{"n": 16}, {"ignore_eos": True}, {"n": 16, "ignore_eos": True}, {"logit_bias": {"2": -100}}, {"min_tokens": 5},
     {"allowed_token_ids": [5]}, {"n": 2, "max_tokens": None}],
)  # fmt: skip
def test_answers_that_may_have_no_end_of_their_own_are_given_one(fields: dict[str, Any]) -> None:
    assert checked(**fields)["max_tokens"] == SETTINGS.default_max_tokens


def test_the_given_end_stays_within_the_budget() -> None:
    fields = {"n": 16}
    check_sampling(fields, EndpointSettings(max_answer_tokens=1_600))
    assert fields["max_tokens"] == 100


def test_an_ordinary_answer_ends_where_the_model_ends_it() -> None:
    assert checked(n=1, temperature=1.0) == {"n": 1, "temperature": 1.0}

"""One table of faults: what servers say, and how far it reaches. The words are those of the servers named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.engines.faults import Fault, FaultKind, classify_answer, classify_exception, remedy
from opencharacter.engines.transport import Broken, HttpAnswer, TimedOut, Unreachable

ACCOUNT, BUSY, BROKEN, REJECTED = FaultKind.ACCOUNT, FaultKind.BUSY, FaultKind.BROKEN, FaultKind.REJECTED


def answered(status: int, body: Any = "", **headers: str) -> Fault:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify_answer(HttpAnswer(status, named, data))


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, error("Incorrect API key provided: sk-a***b.", code="invalid_api_key")),
        (401, b""),
        (400, error("API key not valid. Please pass a valid API key.", code=400, status="INVALID_ARGUMENT")),  # Gemini
        (402, error("Insufficient credits. Add more using https://openrouter.ai/settings/credits", code=402)),
        (402, error("This request requires more credits, or fewer max_tokens.", code=402)),  # OpenRouter
        (402, error("Insufficient Balance", type="unknown_error")),  # DeepSeek
        (403, error("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys", code=403)),
        (400, error("Your credit balance is too low to access the Anthropic API.", type="invalid_request_error")),
        (400, error("You have reached your specified API usage limits.", type="invalid_request_error")),
        (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
        (429, error(QUOTA, type="insufficient_quota", code="insufficient_quota")),  # OpenAI
        (429, error(QUOTA, type="insufficient_quota", code=None)),
        (429, error("Billing hard limit has been reached", code="billing_hard_limit_reached")),
        (429, error("余额不足或无可用资源包,请充值。", code="1113")),  # Zhipu
        (429, error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more.", code=429)),
        (404, error("The model `x` does not exist or you do not have access to it.", code="model_not_found")),
        (404, {"error": "model 'x' not found"}),  # Ollama
        (400, error("foo/bar is not a valid model ID", code=400)),  # OpenRouter
        (403, error("Country, region, or territory not supported", code="unsupported_country_region_territory")),
        (400, error("User location is not supported for the API use.", status="FAILED_PRECONDITION")),
        (404, b"404 page not found"),
        (302, b""),
        (405, b""),
    ],
)
def test_what_concerns_the_account(status: int, body: Any) -> None:
    assert answered(status, body).kind is ACCOUNT


def test_a_quota_that_comes_back_soon_is_waited_for_and_one_that_does_not_is_not() -> None:
    gemini = [{**error(f"{QUOTA} Please retry in 12.3s.", code=429, details=[{"retryDelay": "12s"}])}]
    assert answered(429, gemini) == Fault(BUSY, f"429: {QUOTA} Please retry in 12.3s.", 12.0)
    assert answered(429, error(QUOTA)).kind is ACCOUNT
    assert answered(429, error(QUOTA, code="insufficient_quota"), retry_after="1").kind is ACCOUNT
    late = answered(429, error("Daily limit"), retry_after="18000")
    assert late.kind is ACCOUNT
    assert "5.0 hours" in late.message


RATE_LIMIT = (
    "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 10000, Used 9000, Requested "
    "2000. Please try again in 6s. You can increase your rate limit by adding a payment method to your account at "
    "https://platform.openai.com/account/billing."
)


@pytest.mark.parametrize(
    ("status", "body", "headers", "wait"),
    [
        (429, error("slow down"), {}, None),
        (429, error("slow down"), {"retry_after": "7"}, 7.0),
        (429, error("slow down"), {"retry_after_ms": "250", "retry_after": "1"}, 0.25),
        (429, error("slow down"), {"x_ratelimit_reset": "30"}, 30.0),
        (429, error("slow down"), {"retry_after": "soon"}, None),
        (429, error("slow down"), {"retry_after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        (429, error(RATE_LIMIT, code="rate_limit_exceeded"), {}, 6.0),
        (429, error("Rate limit reached on requests per day (RPD). Please try again in 1m26.4s."), {}, 86.4),
        (429, b"", {}, None),
        (529, error("Overloaded", type="overloaded_error"), {}, None),  # Anthropic
        (503, error("Too many requests, try again in 500ms"), {}, 0.5),
        (403, error("rate limit exceeded"), {"retry_after": "2"}, 2.0),
    ],
)
def test_a_busy_server_and_how_long_to_wait(
    status: int, body: Any, headers: dict[str, str], wait: float | None
) -> None:
    found = answered(status, body, **headers)
    assert found.kind is BUSY
    assert found.retry_after_s == (wait if wait is None else pytest.approx(wait))


@pytest.mark.parametrize("status", [408, 409, 425, 500, 502, 503, 520])
def test_trouble_of_the_server_is_asked_again(status: int) -> None:
    assert answered(status, error("something broke")).kind is BROKEN
    assert answered(status, b"<html>Bad gateway</html>").message == f"{status}: an HTML page"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (error("This model's maximum context length is 2048 tokens. However, you requested 2100 tokens (76 in the "
               "messages, 2024 in the completion). Please reduce the length.", code="context_length_exceeded"), None),
        (error("'max_tokens' or 'max_completion_tokens' is too large: 1024. This model's maximum context length is "
               "2048 tokens and your request has 1500 input tokens (1024 > 2048 - 1500).", param="max_tokens"), None),
        (error("the request exceeds the available context size", code=400, type="exceed_context_size_error"), None),
        (error("prompt is too long: 210000 tokens > 200000 maximum"), None),  # Anthropic
        (error("how do you seed a garden?"), None),
        (b"", None),
        (error("The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
               code="content_filter"), "content_filter"),
        (error("Content Exists Risk", type="invalid_request_error"), "content_filter"),
        (error("Output data may contain inappropriate content.", code="data_inspection_failed"), "content_filter"),
    ],
)  # fmt: skip
def test_what_concerns_one_row(body: Any, reason: str | None) -> None:
    found = answered(400, body)
    assert (found.kind, found.reason) == (REJECTED, reason)


def test_a_403_is_moderation_where_it_says_so_and_open_otherwise() -> None:
    flagged = error('openai/gpt requires moderation. Your input was flagged for "violence"', code=403)
    assert answered(403, flagged).kind is REJECTED
    assert answered(403, error("Forbidden")).kind is FaultKind.FORBIDDEN
    assert answered(413, b"").kind is REJECTED


def test_a_row_that_is_larger_than_the_limit_of_a_minute_is_not_waited_for() -> None:
    words = "Request too large for gpt-4 on tokens per min (TPM): Limit 10000, Requested 12000."
    assert answered(429, error(words, type="tokens", code="rate_limit_exceeded")).kind is REJECTED


EXTRA = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 1}
TOO_LARGE = "max_tokens is too large: 5000. This model supports at most 4096 completion tokens."


@pytest.mark.parametrize(
    ("body", "parameter", "setting"),
    [
        (error("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
               "instead.", param="max_tokens", code="unsupported_parameter"),
         "max_tokens", "rename: {max_tokens: max_completion_tokens}"),
        (error("Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) value is "
               "supported.", param="temperature", code="unsupported_value"), "temperature", "omit: [temperature]"),
        (error("`temperature` and `top_p` cannot both be specified for this model. Please use only one."),
         "temperature", "omit: [temperature]"),
        (error("temperature: range: 0..1"), "temperature", "omit: [temperature]"),
        ({"object": "error", "message": {"detail": [EXTRA]}, "type": "invalid_request_error"}, "seed", "omit: [seed]"),
        ({"object": "error", "message": json.dumps({"detail": [EXTRA]}), "code": "1000"}, "seed", "omit: [seed]"),
        ({"detail": [EXTRA]}, "seed", "omit: [seed]"),
        ([error('Invalid JSON payload received. Unknown name "seed": Cannot find field.', code=400)],
         "seed", "omit: [seed]"),  # Gemini
        (error("property 'seed' is unsupported"), "seed", "omit: [seed]"),  # Groq
        (error("Malformed input request: #: extraneous key [seed] is not permitted"), "seed", "omit: [seed]"),
        (error("Unrecognized request argument supplied: seed"), "seed", "omit: [seed]"),  # Azure
        (error("gemini does not support parameters: {'seed': 1}, for model=x"), "seed", "omit: [seed]"),  # LiteLLM
        (error("Range of seed should be [0, 9223372036854775807]"), "seed", "omit: [seed]"),  # DashScope
        (error("unknown field `top_p`, expected one of `model`, `messages`"), "top_p", "omit: [top_p]"),
        (error("Argument not supported on this model: topP"), "top_p", "omit: [top_p]"),
        (error(TOO_LARGE, param="max_tokens", code="invalid_value"), "max_tokens", "lower the sampling's max_tokens"),
        ({"object": "error", "message": "System role not supported", "type": "BadRequestError", "code": 400},
         "system role", "system_role: merge"),  # vLLM, with Gemma's template
        (error("Conversation roles must alternate user/assistant/user/assistant/..."), "system role", "system_role"),
        (error("Developer instruction is not enabled for models/gemma-3-27b-it", code=400), "system role", "merge"),
        (error("Unsupported value: 'messages[0].role' does not support 'system' with this model.",
               param="messages[0].role"), "system role", "merge"),
        (error('messages: Unexpected role "system". The Messages API accepts a top-level `system`'), "system role", ""),
        (error("Only user and assistant roles are supported!"), "system role", "merge"),
        ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Input should be 'user' or 'assistant'"}]},
         "system role", "merge"),
        (error("Invalid value: 'system'. Supported values are: 'user', 'assistant'.", param="messages[0].role"),
         "system role", "merge"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_taken_is_named_with_the_setting(body: Any, parameter: str, setting: str) -> None:
    found = answered(422 if "detail" in str(body) else 400, body)
    assert (found.kind, found.parameter) == (FaultKind.PARAMETER, parameter)
    assert setting in remedy(found, "m")


@pytest.mark.parametrize(
    "words",
    [
        "Failed to initialize samplers: failed to parse grammar",  # llama.cpp: bounds over 2,000
        "Grammar error: number of repetitions exceeds sane defaults",
        "The provided JSON schema contains features not supported by xgrammar.",  # vLLM
        "Failed to transform json schema into a grammar: x",
        "Invalid schema for response_format 'reply': In context=(), 'maxLength' is not permitted.",  # OpenAI
        "The specified schema produces a constraint that has too many states for serving.",  # Gemini
        "compiled grammar is too large",  # Anthropic
    ],
)
def test_a_schema_that_the_grammar_does_not_take(words: str) -> None:
    assert answered(400, error(words)).kind is FaultKind.SCHEMA
    assert answered(500, error(words)).kind is FaultKind.SCHEMA


@pytest.mark.parametrize(
    "words",
    [
        "response_format of type json_schema is not supported",
        "This response_format type is unavailable now",  # DeepSeek
        "This model does not support response format `json_schema`. See supported models",  # Groq
        "'response_format.type' must be 'json_object' or 'text'",
    ],
)
def test_a_server_without_response_format(words: str) -> None:
    assert answered(400, error(words)).kind is FaultKind.FORMAT


def test_an_answer_that_the_server_rejects_takes_the_next_attempt() -> None:
    groq = error("Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
                 code="json_validate_failed", failed_generation='{"seed": ')  # fmt: skip
    found = answered(400, groq)
    assert (found.kind, found.reason, found.retryable) == (FaultKind.SPOILED, "invalid_json", False)


def test_requests_without_an_answer() -> None:
    assert classify_exception(Unreachable("no route")).kind is FaultKind.UNREACHABLE
    assert classify_exception(TimedOut("no answer in time")).kind is BROKEN
    assert classify_exception(Broken("reset")).kind is BROKEN


def test_long_words_are_shortened() -> None:
    assert len(answered(500, error("word " * 1000)).message) < 600


@given(st.integers(201, 599), st.binary(max_size=30), st.text(max_size=10))
def test_no_answer_ends_in_a_traceback(status: int, data: bytes, wait: str) -> None:
    assert answered(status, data, retry_after=wait, x_ratelimit_reset=wait).message

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.contract.body import MAX_MESSAGES, ChatRequest, read_chat_request

USER = {"role": "user", "content": "hello"}


def read(**fields: object) -> ChatRequest:
    return read_chat_request(json.dumps({"messages": [USER], **fields}).encode())


def refused(**fields: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("character", "param"),
    [
        ({}, "character"),
        ({"personality": "Dry"}, "character"),
        ({"name": ""}, "character"),
        ({"name": "Ada", "age": [36]}, "character.age"),
        ({"name": "Ada", "hobby": "chess"}, "character.hobby"),
        ({"name": "Ada", "persona": "x" * 20_001}, "character.persona"),
        ({"name": "Ada", "provenance": {"source": 1, "licence": "x"}}, "character.provenance.source"),
        ("no profile at all", "character"),
        (None, "character"),
        (7, "character"),
    ],
)
def test_a_wrong_profile_is_refused_by_the_path_of_its_field(character: object, param: str) -> None:
    error = refused(character=character)
    assert (error.status, error.param) == (422, param)
    assert param in error.message
    assert error.body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "name",
    ["chat_template", "chat_template_kwargs", "documents", "tools", "add_generation_prompt", "continue_final_message",
     "guided_json", "structured_outputs", "priority", "request_id", "kv_transfer_params", "vllm_xargs", "echo"],
)  # fmt: skip
def test_what_reaches_the_template_engine_or_the_engine_itself_is_refused_by_name(name: str) -> None:
    error = refused(**{name: {"a": "b"}})
    assert (error.status, error.param) == (422, name)


def test_sampling_settings_of_openai_and_vllm_pass() -> None:
    settings = {"temperature": 0.1, "seed": 3, "top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1, "logprobs": True,
                "response_format": {"type": "json_object"}, "stream_options": {"include_usage": True}}  # fmt: skip
    assert settings.items() <= read(**settings).model_dump().items()


def test_null_means_not_sent_as_in_clients_that_send_every_field() -> None:
    assert "tools" not in read(tools=None, seed=None).model_dump()


def test_a_misspelt_field_is_not_silently_ignored() -> None:
    assert "did you mean 'character'" in refused(charakter={"name": "Ada"}).message


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([USER] * (MAX_MESSAGES + 1), "messages"),
        ([{"role": "tool", "content": "x"}, USER], "messages[0].role"),
        ([USER, {"role": "assistant", "content": "hi"}], "messages[1].role"),
        ([USER, {"role": "system", "content": "x"}, USER], "messages[1].role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, USER], "messages[0].tool_calls"),
        ("hello", "messages"),
    ],
)
def test_odd_messages_are_refused_by_their_position(messages: object, param: str) -> None:
    error = refused(messages=messages)
    assert (error.status, error.param) == (422, param)


def test_a_character_excludes_a_system_message_and_plain_chats_may_have_one() -> None:
    messages = [{"role": "developer", "content": "Be brief."}, USER]
    assert refused(messages=messages, character={"name": "Ada"}).param == "messages[0].role"
    assert read(messages=messages).messages[0].as_sent() == {"role": "system", "content": "Be brief."}


def test_text_parts_are_joined_and_echoed_answers_accepted() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    echoed = {"role": "assistant", "content": "hi", "refusal": None, "tool_calls": [], "audio": None}
    assert [message.content for message in read(messages=[parts, echoed, USER]).messages] == ["a\nb", "hi", "hello"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"messages": NaN}', b'{"messages": "\\ud800"}', b"[" * 100_000, b"\xff"])
def test_what_is_not_json_is_a_400(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        read_chat_request(body)
    assert caught.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("messages", "character", "model", "n", "stream", "seed", "other"), JSON)
    )
)
def test_any_request_is_either_read_or_refused_with_a_body_that_clients_understand(fields: dict[str, object]) -> None:
    outcome: object = None
    try:
        outcome = read_chat_request(json.dumps(fields).encode())
    except ApiError as error:
        outcome = error
    assert isinstance(outcome, ChatRequest) or (outcome.status in (400, 422) and outcome.body["error"]["message"])

"""Each field's rule, in the tolerant and the strict reading."""

import ast
import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.contract_calls import CONTRACT, USER, call, refused, upstream

from opencharacter.serving.endpoint.api_errors import ApiError
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.contract.character import CARD_FIELDS
from opencharacter.serving.endpoint.contract.fields import FIELDS, MAX_FIELDS, MESSAGE_FIELDS, Rule
from opencharacter.serving.endpoint.contract.messages import MAX_MESSAGES

BOTH = pytest.mark.parametrize("strict", [False, True], ids=["tolerant", "strict"])
PAGE = Path(__file__).parents[3] / "docs" / "endpoint-fields.md"


@BOTH
@pytest.mark.parametrize("name", [name for name, rule in FIELDS.items() if rule.use == "refused"])
def test_what_reaches_the_template_engine_or_the_engine_itself_is_refused_by_name(name: str, strict: bool) -> None:
    error = refused({name: {"a": "b"}}, strict=strict)
    assert (error.status, error.param, error.code) == (422, name, "unsupported_parameter")
    assert name in error.message


@BOTH
@pytest.mark.parametrize("name", ["chat_template", "chat_template_kwargs", "chat_template_content_format"])
@pytest.mark.parametrize("value", [{}, "", [], False, "{{ 1 }}"], ids=repr)
def test_no_value_of_a_chat_template_passes(name: str, value: object, strict: bool) -> None:
    assert refused({name: value}, strict=strict).param == name


SAMPLING: dict[str, Any] = {
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "temperature", "top_p", "min_p", "length_penalty"), 0.5),
    **dict.fromkeys(("n", "seed", "max_tokens", "max_completion_tokens", "min_tokens", "top_k", "top_logprobs"), 2),
    **{key: [7] for key in ("allowed_token_ids", "stop_token_ids")},
    **{key: ["x"] for key in ("stop", "bad_words")},
    **dict.fromkeys(("logprobs", "ignore_eos", "include_stop_str_in_output"), True),
    **dict.fromkeys(("stream", "skip_special_tokens", "spaces_between_special_tokens"), False),
    "repetition_penalty": 1.1, "logit_bias": {"7": -1}, "response_format": {"type": "json_object"}, "cache_salt": "s",
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", [name for name, rule in FIELDS.items() if rule.use == "taken" and rule.strict])
def test_sampling_settings_pass_as_they_are(name: str, strict: bool) -> None:
    value = SAMPLING[name]
    assert upstream({name: value}, strict=strict)[name] == value


@BOTH
def test_null_means_not_sent_as_in_clients_that_send_every_field(strict: bool) -> None:
    nothing = dict.fromkeys((*FIELDS, "unknown"), None) | {"messages": [USER]}
    assert upstream(nothing, strict=strict) == {"model": "m", "messages": [USER]}
    assert call(nothing, strict=strict).dropped == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []}, {"tool_choice": "none"}, {"reasoning_effort": "low"}, {"verbosity": "low"},
        {"modalities": ["text"]}, {"repeat_penalty": 1.1}, {"session_id": "s"}, {"truncate_prompt_tokens": 1},
        {"structured_outputs": {"choice": ["a"]}}, {"character": "A baker."},
        {"character": {"description": "A baker."}},
        {"messages": [USER, {"role": "assistant", "content": "Hi"}]},
        {"messages": [{**USER, "name": "Bo"}]}, {"messages": [{**USER, "id": "1"}]},
        {"messages": [USER, {"role": "system", "content": "x"}, USER]},
        {"messages": [{"role": "system", "content": "x"}, USER], "character": {"name": "Ada"}},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_the_strict_reading_refuses_what_the_tolerant_one_helps_with(fields: dict[str, object]) -> None:
    assert call(fields)
    assert refused(fields, strict=True).status == 422


@BOTH
def test_the_strict_reading_leaves_an_ordinary_chat_as_it_is(strict: bool) -> None:
    messages = [{"role": "system", "content": "Be brief."}, USER, {"role": "assistant", "content": "Hi"}, USER]
    assert upstream({"messages": messages, "user": "u", "metadata": {}}, strict=strict) == {
        "model": "m", "messages": messages, "user": "u",
    }  # fmt: skip


def test_a_misspelt_field_is_named_to_the_tolerant_and_refused_by_the_strict() -> None:
    fields = {"charakter": {"name": "Ada"}}
    assert call(fields).dropped == ("charakter",)
    assert "did you mean 'character'" in refused(fields, strict=True).message


@BOTH
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({f"field_{number}": 1 for number in range(MAX_FIELDS)}, None),
        ({"n": 17}, "n"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": "2"}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"model": 7}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [USER] * (MAX_MESSAGES + 1)}, "messages"),
        ({"messages": ["hello"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0].role"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {"text": "x"}}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": [{"id": "1"}]}, USER]},
         "messages[0].tool_calls"),
        ({"messages": [{**USER, "name": "a\nb"}, USER]}, "messages[0].name"),
        ({"messages": [{**USER, **{f"k{number}": 1 for number in range(40)}}]}, "messages[0]"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_path(fields: dict[str, object], param: str | None, strict: bool) -> None:
    error = refused(fields, strict=strict)
    assert (error.status, error.body["error"]["type"]) == (422, "invalid_request_error")
    assert error.param == param or strict
    assert len(error.message) < 400


@pytest.mark.parametrize("kind", ["image_url", "input_image", "input_audio", "file", "video_url"])
def test_images_and_other_media_are_refused_by_their_type(kind: str) -> None:
    error = refused({"messages": [{"role": "user", "content": [{"type": kind, kind: {"url": "x"}}]}]})
    assert error.param == "messages[0].content[0]"
    assert kind in error.message


def test_a_message_without_a_text_is_nothing_to_answer() -> None:
    assert refused({"messages": [{"role": "assistant", "content": None}]}).param == "messages"


def test_every_field_of_the_model_servers_own_request_has_a_rule() -> None:
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        pytest.skip("vLLM is not installed here")
    source = Path(found.origin).parent / "entrypoints/openai/chat_completion/protocol.py"
    [request] = [
        node for node in ast.parse(source.read_text()).body if getattr(node, "name", "") == "ChatCompletionRequest"
    ]
    assert isinstance(request, ast.ClassDef)
    fields = {ast.unparse(node.target) for node in request.body if isinstance(node, ast.AnnAssign)}
    fields = {name for name in fields if not name.startswith("_")}
    assert len(fields) > 50
    assert fields <= FIELDS.keys()


@pytest.mark.parametrize(("title", "rules"), [("Request", FIELDS), ("Message", MESSAGE_FIELDS), ("Card", CARD_FIELDS)])
def test_the_page_has_the_rule_of_every_field(title: str, rules: dict[str, Rule]) -> None:
    section = PAGE.read_text("utf-8").split(f"<!-- {title} -->")[1].split("<!--")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{name}` | {rule.use} | {'yes' if rule.strict else ''} | {rule.note} |" for name, rule in rules.items()
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "developer", "tool"]) | JSON},
        optional={"content": st.text() | JSON, "name": st.text() | JSON, "other": JSON},
    ),
    max_size=6,
)


@BOTH
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "messages": MESSAGES | JSON,
            "character": st.fixed_dictionaries({}, optional={"name": st.text(), "description": st.text(), "age": JSON})
            | JSON,
            **dict.fromkeys(("model", "n", "stream", "seed", "user", "stream_options", "scenario", "greeting"), JSON),
            "other": JSON,
        },
    )
)
def test_any_request_is_either_read_or_refused_with_a_body_that_clients_understand(
    fields: dict[str, object], strict: bool
) -> None:
    outcome: object = None
    try:
        outcome = CONTRACT.chat(json.dumps(fields).encode(), {}, strict=strict)
    except ApiError as error:
        outcome = error
    if isinstance(outcome, Call):
        messages = json.loads(outcome.body)["messages"]
        roles = [message["role"] for message in messages if message["role"] != "system"]
        assert roles
        assert "system" not in [message["role"] for message in messages[1:]]
        assert strict or all(one != two for one, two in itertools.pairwise(roles))
    else:
        assert isinstance(outcome, ApiError)
        assert outcome.status in (400, 422)
        assert outcome.body["error"]["message"]

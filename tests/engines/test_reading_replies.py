"""One reading of a server's answer: text, problem, tokens, or a fault of that call."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from opencharacter.engines.faults import Fault, FaultKind
from opencharacter.engines.replies import ChatReply, read_reply


def body(content: Any = "Ahoy!", finish_reason: Any = "stop", **message: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    return json.dumps({"choices": [{**choice, "finish_reason": finish_reason}], "usage": {}}).encode()


def read(answer: bytes) -> ChatReply:
    reply = read_reply(answer)
    assert isinstance(reply, ChatReply), reply
    return reply


def fault(answer: object) -> Fault:
    found = read_reply(answer if isinstance(answer, bytes) else json.dumps(answer).encode())
    assert isinstance(found, Fault), found
    return found


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Ahoy!", "Ahoy!"),
        ("<think>I am a robot.</think>\n\nAhoy!", "Ahoy!"),
        ("I am a robot.\n</think>\n\nAhoy!", "Ahoy!"),
        ([{"type": "text", "text": "Ahoy, "}, {"type": "text", "text": "mate!"}], "Ahoy, mate!"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "A"}], "A"),
        ([{"type": "reasoning", "text": "Hm."}, {"type": "output_text", "text": {"value": "Ahoy!"}}], "Ahoy!"),
        (["Ahoy, ", "mate!"], "Ahoy, mate!"),
        ({"answers": ["Ahoy!"]}, '{"answers": ["Ahoy!"]}'),
        ("half a pair: \ud83d", "half a pair: \ufffd"),
        (None, ""),
    ],
)  # fmt: skip
def test_the_text_of_an_answer(content: Any, text: str) -> None:
    reply = read(body(content))
    assert (reply.text, reply.problem) == (text, None)
    reply.text.encode()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (body("<think>Hm. I", "length"), "truncated"),
        (body("<think>Hm. I", "stop"), "only_reasoning"),
        (body("<think>Hm.</think>"), "only_reasoning"),
        (body(None, reasoning_content="Hm."), "only_reasoning"),
        (body("", reasoning="Hm."), "only_reasoning"),
        (body(None, "length", reasoning_content="Hm."), "truncated"),
        (body("", "length"), "truncated"),
        (body(None, reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]), "only_reasoning"),
        (body([{"type": "thinking", "thinking": "Hm."}], reasoning_content="Hm."), "only_reasoning"),
        (body(None, refusal="I cannot do that."), "refusal"),
        (body([{"type": "refusal", "refusal": "No."}]), "refusal"),
        (body(None, "tool_calls", tool_calls=[{"function": {"name": "search"}}]), "tool_call"),
        (body("Half a sen", "content_filter"), "content_filter"),
        (body(None, "SAFETY"), "content_filter"),
    ],
)
def test_a_reply_without_an_answer_says_why(answer: bytes, problem: str) -> None:
    assert read(answer).problem == problem


def test_the_answer_before_thoughts_that_were_cut_off_is_cut_off() -> None:
    reply = read(body("Ahoy. Come in.\n<think>And now", "length"))
    assert (reply.text, reply.finish_reason, reply.problem) == ("Ahoy. Come in.", "length", None)


def test_the_words_of_a_refusal_are_kept() -> None:
    assert read(body(None, refusal="I cannot do that.")).detail == "I cannot do that."


@pytest.mark.parametrize(
    ("named", "finish_reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        ("eos", "stop"),
        (None, None),
        (7, None),
        ("tool_calls", "tool_calls"),
    ],
)
def test_finish_reasons_have_one_name(named: Any, finish_reason: str | None) -> None:
    assert read(body(finish_reason=named)).finish_reason == finish_reason


@pytest.mark.parametrize("named", ["error", "ERROR", "abort", "network_error", "insufficient_system_resource"])
def test_an_answer_that_the_server_broke_off_is_asked_again(named: str) -> None:
    assert fault(body("Half a sen", named)).kind is FaultKind.BROKEN


@pytest.mark.parametrize(
    ("count", "tokens"),
    [(12, 12), (0, 0), (None, 0), (1.5, 0), ("12", 0), (-3, 0), (True, 0), ([], 0), (10**30, 0), (float("nan"), 0)],
)
def test_what_is_no_number_of_tokens_counts_nothing(count: Any, tokens: int) -> None:
    answer = json.loads(body())
    answer["usage"] = {"prompt_tokens": count, "completion_tokens": count}
    usage = read(json.dumps(answer).encode()).usage
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens) == (1, tokens, tokens)


@pytest.mark.parametrize("usage", [None, [], "12", 3])
def test_usage_that_is_no_object_counts_nothing(usage: Any) -> None:
    answer = json.loads(body()) | {"usage": usage}
    assert read(json.dumps(answer).encode()).usage.completion_tokens == 0
    del answer["usage"]
    assert read(json.dumps(answer).encode()).usage.completion_tokens == 0


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
        {"choices": [{"message": "Ahoy!"}]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"content": [5]}}]},
        {"choices": [None]},
        {"choices": ["Ahoy!"]},
        {"choices": {"0": {"message": {"content": "Ahoy!"}}}},
        {"choices": []},
        {"choices": None},
        {},
        [],
        "Ahoy!",
        7,
        None,
        b"",
        b"Ahoy!",
        b"<html>a proxy's login page</html>",
        b'data: {"choices": []}\n\n',
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"choices": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_completion_is_a_fault_of_that_call(answer: object) -> None:
    assert fault(answer).kind is FaultKind.BROKEN


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        ({"code": 429, "message": "slow down"}, FaultKind.BUSY, "slow down"),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, FaultKind.BUSY, "slow down"),
        ({"code": 402, "message": "Insufficient credits"}, FaultKind.ACCOUNT, "Insufficient credits"),
        ({"code": 401, "message": "No auth credentials found"}, FaultKind.ACCOUNT, "No auth"),
        ({"type": "insufficient_quota", "message": "You exceeded it"}, FaultKind.ACCOUNT, "You exceeded it"),
        ({"code": 502, "message": "Provider returned error"}, FaultKind.BROKEN, "Provider returned error"),
        ({"type": "server_error", "message": "oh"}, FaultKind.BROKEN, "oh"),
        ({"code": 400, "message": "prompt is too long"}, FaultKind.REJECTED, "prompt is too long"),
        ({"type": "invalid_request_error", "message": "no"}, FaultKind.REJECTED, "no"),
        ("model 'x' not found", FaultKind.ACCOUNT, "model 'x' not found"),
        ("oh", FaultKind.BROKEN, "oh"),
        (True, FaultKind.BROKEN, "200"),
    ],
)
def test_an_error_under_status_200_counts_by_its_own_code_and_words(error: Any, kind: FaultKind, words: str) -> None:
    choice = json.loads(body())["choices"][0]
    for answer in ({"error": error}, {"choices": [{**choice, "error": error}]}, [{"error": error}]):
        found = fault(answer)
        assert found.kind is kind
        assert words in found.message


def test_an_error_object_without_its_usual_place_is_read() -> None:
    assert fault({"object": "error", "message": "slow down", "code": 429}).kind is FaultKind.BUSY
    assert "not loaded" in fault({"detail": "the model is not loaded"}).message


KEYS = (
    "choices message content error code finish_reason usage prompt_tokens text type refusal tool_calls "
    "reasoning_content metadata raw param loc retryDelay"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
@example({"choices": [{"message": {"content": "<think>"}, "finish_reason": {}}], "usage": {"prompt_tokens": "\ud800"}})
def test_no_json_ends_in_a_traceback(value: Any) -> None:
    outcome = read_reply(json.dumps(value).encode())
    assert isinstance(outcome, ChatReply | Fault)
    if isinstance(outcome, ChatReply):
        json.dumps([outcome.text, outcome.detail], ensure_ascii=False).encode()
        assert outcome.usage.prompt_tokens >= 0


@given(st.lists(JSON, max_size=2), JSON, JSON, JSON)
def test_no_completion_ends_in_a_traceback(content: list[Any], finish_reason: Any, usage: Any, error: Any) -> None:
    message = {"content": content[0] if len(content) == 1 else content, "refusal": error, "tool_calls": usage}
    choice = {"message": message, "finish_reason": finish_reason, "error": error}
    assert read_reply(json.dumps({"choices": [choice], "usage": usage}).encode()) is not None


@given(st.binary(max_size=40))
def test_no_bytes_end_in_a_traceback(data: bytes) -> None:
    assert isinstance(read_reply(data), ChatReply | Fault)

"""Reads what a server answers to a chat request: one reading, before anybody uses a reply."""

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from opencharacter.engines.faults import Fault, FaultKind, classify_error
from opencharacter.engines.thoughts import Answer, cut_thoughts
from opencharacter.records.models import Usage
from opencharacter.redaction import redact

Problem = Literal["truncated", "only_reasoning", "refusal", "content_filter", "tool_call"]
"""Why a reply holds no answer: cut off inside the thoughts, thoughts alone, the server's refusal, its filter, or a call
of a tool that nobody offered."""

_LENGTH = {"length", "max_tokens", "max_output_tokens", "model_length"}
_FILTERED = {
    "content_filter", "content_filtered", "safety", "prohibited_content", "blocklist", "spii", "recitation", "sensitive"
}  # fmt: skip
_FAILED = {
    "error", "abort", "aborted", "cancelled", "canceled", "network_error", "insufficient_system_resource", "other",
    "malformed_function_call", "server_error",
}  # fmt: skip
_MOST_TOKENS = 2**53
_LONGEST_LABEL = 200
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
"""Where servers put thoughts that they took out of the content."""


@dataclass(frozen=True)
class ChatReply:
    """What the model said."""

    text: str
    """Without thoughts."""
    finish_reason: str | None
    """`length` where the reply ended at a limit, `stop` where the model ended it."""
    usage: Usage
    structured: bool = False
    """Whether the server was asked to follow the JSON schema; otherwise the text may not be valid JSON."""
    problem: Problem | None = None
    detail: str = ""
    """The server's own words about the problem."""
    thoughts: Literal["none", "cut", "unopened"] = "none"
    """Thoughts that were in the text; `unopened`: their opening mark is part of the model's prompt."""
    model: str | None = None
    """As the server names itself, which may say more than the name that was asked for."""
    fingerprint: str | None = None
    """The server's `system_fingerprint`."""


def read_reply(body: bytes) -> ChatReply | Fault:
    """The reply in the body of an answer with status 200, or the fault that came in its place."""
    try:
        completion = json.loads(body)
    except (ValueError, RecursionError):
        return _no_completion("it is not JSON")
    if isinstance(completion, list) and completion:
        completion = completion[0]
    if not isinstance(completion, dict):
        return _no_completion("it is not a JSON object")
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    for holder in (choice, completion):
        if isinstance(holder, dict) and holder.get("error"):
            return classify_error(holder["error"])
    if not isinstance(choice, dict):
        if choices is None and completion.keys() & {"message", "detail", "error_msg", "msg"}:
            return classify_error(completion)
        return _no_completion("it has no choices")
    message = choice.get("message")
    if not isinstance(message, dict):
        return _no_completion("its choice has no message")
    finish_reason = _finish_reason(choice.get("finish_reason"))
    if finish_reason == "error":
        return Fault(FaultKind.BROKEN, f"the answer ended with an error: {choice['finish_reason']}")
    content = _text(message.get("content"))
    if content is None:
        return _no_completion("its content is not text")
    named = [_label(completion.get(key)) for key in ("model", "system_fingerprint")]
    reply = ChatReply(content, finish_reason, _usage(completion.get("usage")), model=named[0], fingerprint=named[1])
    return _checked(reply, message)


def clean_text(text: str, finish_reason: str | None) -> tuple[str, Problem | None]:
    """The answer in a text of the model, and why it holds none."""
    answer = cut_thoughts(text)
    return answer.text, _problem(answer, finish_reason)


def _problem(answer: Answer, finish_reason: str | None) -> Problem | None:
    if not answer.cut or answer.text.strip():
        return None
    return "truncated" if answer.ends_in_thoughts and finish_reason == "length" else "only_reasoning"


def _checked(reply: ChatReply, message: dict[str, Any]) -> ChatReply:
    answer = cut_thoughts(reply.text)
    text, problem = answer.text, _problem(answer, reply.finish_reason)
    if answer.cut:
        reply = replace(reply, text=text, problem=problem, thoughts="unopened" if answer.unopened else "cut")
    if reply.finish_reason == "content_filter":
        return replace(reply, problem="content_filter")
    if text.strip():
        return reply
    refusal = _text(message.get("refusal")) or _refusal_part(message.get("content"))
    if refusal:
        return replace(reply, problem="refusal", detail=redact(refusal))
    if message.get("tool_calls") or message.get("function_call"):
        return replace(reply, problem="tool_call")
    if reply.finish_reason == "length":  # some servers do not show the thoughts that used up the tokens
        return replace(reply, problem="truncated")
    if any(message.get(name) for name in _REASONING):
        return replace(reply, problem="only_reasoning")
    return reply


def _text(content: Any) -> str | None:
    """A message's content as text; None for what is none. The texts of its parts are joined, without thoughts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _writable(content)
    if isinstance(content, list):
        parts = [_part(part) for part in content]
        return None if None in parts else "".join(part for part in parts if part)
    # Some servers send the object that a schema asks for as it is.
    return json.dumps(content, ensure_ascii=False) if isinstance(content, dict) and content else None


def _writable(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON may hold and no file."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _part(part: Any) -> str | None:
    if isinstance(part, str) or part is None:
        return _text(part)
    if not isinstance(part, dict):
        return None
    if part.get("type", "text") not in ("text", "output_text"):
        return ""
    text = part.get("text")
    return _text(text.get("value") if isinstance(text, dict) else text)


def _refusal_part(content: Any) -> str | None:
    parts = content if isinstance(content, list) else []
    return next((text for part in parts if isinstance(part, dict) and (text := _text(part.get("refusal")))), None)


def _finish_reason(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    reason = value.lower()
    for name, family in (("length", _LENGTH), ("content_filter", _FILTERED), ("error", _FAILED)):
        if reason in family:
            return name
    return "stop" if reason in {"end_turn", "eos", "eos_token", "stop_sequence", "complete", "finish"} else reason


def _usage(counts: Any) -> Usage:
    if not isinstance(counts, dict):
        counts = {}
    return Usage(
        calls=1,
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
    )


def _label(value: Any) -> str | None:
    return redact(value[:_LONGEST_LABEL]) if isinstance(value, str) and value else None


def _count(value: Any) -> int:
    """A number of tokens; 0 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS else 0


def _no_completion(why: str) -> Fault:
    return Fault(FaultKind.BROKEN, f"the answer is not a chat completion: {why}")

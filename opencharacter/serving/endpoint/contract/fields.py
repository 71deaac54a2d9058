"""What becomes of every field of a request: the one table that the code, its errors and docs/endpoint-fields.md follow.

A field is *taken* (it goes on to the model server as it is), *translated* (into the prompt, or into a field that the
model server knows), *dropped* (the response header `X-Dropped-Fields` names it), or *refused*, with the reason. The
tolerant reading drops fields that it does not know; the strict one refuses them, and what is marked as tolerant.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from opencharacter.serving.endpoint.api_errors import ApiError, invalid

Use = Literal["taken", "translated", "dropped", "refused"]

MAX_FIELDS = 128
MAX_CHOICES = 16
_MAX_NAMED = 20
_MAX_SHOWN = 64
_MAX_USER = 512
_UNSAFE_IN_HEADER = re.compile(r"[^A-Za-z0-9_.\[\]-]")


@dataclass(frozen=True)
class Rule:
    """The rule of one field."""

    use: Use
    note: str
    """What is done with it, or why it is not."""
    strict: bool = False
    """Whether the strict reading accepts it, too."""
    idle: tuple[Any, ...] = ()
    """Values that ask for nothing: the tolerant reading drops a refused field that has one of them."""


def _taken(*names: str, note: str = "goes to the model server as it is") -> dict[str, Rule]:
    return {name: Rule("taken", note, strict=True) for name in names}


def _dropped(note: str, *names: str, strict: bool = False) -> dict[str, Rule]:
    return {name: Rule("dropped", note, strict=strict) for name in names}


def _refused(note: str, *names: str, idle: tuple[Any, ...] = ()) -> dict[str, Rule]:
    return {name: Rule("refused", note, idle=idle) for name in names}


_LENGTHS = ("max_completion_tokens", "max_tokens")
_TEMPLATE = "the model's own chat template decides"
_ENGINE = "reaches the engine's internals"
_TOOLS = "the models are not trained to call tools"
_UNKNOWN = Rule("dropped", "is not a field of this endpoint")
_GUIDED = "the model server no longer knows it; use 'structured_outputs' or 'response_format'"

FIELDS: dict[str, Rule] = {
    # Read by the endpoint itself
    "messages": Rule("translated", "merged as the model was trained: see the messages below", strict=True),
    "model": Rule("translated", "the served model's name, or `MODEL/CHARACTER-ID`; left out, the served model", True),
    "character": Rule("translated", "becomes the system message: see the character below", strict=True),
    "scenario": Rule("translated", "stands after the profile, as `Scenario:`", strict=True),
    "example_dialogue": Rule("translated", "stands after the scenario, as `Example dialogue:`", strict=True),
    "user_name": Rule("translated", "stands after the profile, and fills `{{user}}`", strict=True),
    "greeting": Rule("translated", "the assistant's first message, where the history has none", strict=True),
    "stream_options": Rule(
        "translated", "`include_usage` and `continuous_usage_stats`, where the answer streams", strict=True
    ),
    # OpenAI's
    **_taken(
        "frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "response_format", "seed", "stop", "stream",
        "temperature", "top_logprobs", "top_p",
    ),
    **_taken(*_LENGTHS, note="goes to the model server; the tolerant reading takes -1, *no limit* elsewhere, as null"),
    "n": Rule("taken", f"choices of one answer, 1 to {MAX_CHOICES}", strict=True),
    "user": Rule("translated", "a text as it is; of an object its `id`, or else its `name`", strict=True),
    **_dropped(
        "the model server has no use for it",
        "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "store",
        strict=True,
    ),
    **_dropped("reaches the chat template, which the models are trained without", "reasoning_effort"),
    **_dropped("the models know no levels of it", "verbosity"),
    **_dropped("nothing is predicted from outside", "prediction"),
    **_dropped("there are no tools to call", "parallel_tool_calls"),
    **_refused("the models write text only", "modalities", idle=(["text"], [])),
    **_refused("the models write text only", "audio"),
    **_refused(_TOOLS, "tools", "functions", idle=([],)),
    **_refused(_TOOLS, "tool_choice", "function_call", idle=("none", "auto")),
    **_refused("the models cannot search the web", "web_search_options"),
    # vLLM's
    **_taken(
        "allowed_token_ids", "bad_words", "cache_salt", "ignore_eos", "include_stop_str_in_output", "length_penalty",
        "min_p", "min_tokens", "repetition_penalty", "skip_special_tokens", "spaces_between_special_tokens",
        "stop_token_ids", "top_k",
    ),
    "structured_outputs": Rule("taken", "goes to the model server within the limits of a grammar"),
    **_dropped("would cut the character off the prompt", "truncate_prompt_tokens", "truncation_side"),
    **_dropped("only the model server's own key-value store has a use for it", "session_id"),
    **_dropped("the models do not reason before they answer", "include_reasoning", "thinking_token_budget"),
    **_refused(
        _TEMPLATE, "add_generation_prompt", "add_special_tokens", "chat_template", "chat_template_kwargs", "documents",
    ),
    "continue_final_message": Rule("refused", "set by the endpoint where the last message is the assistant's"),
    **_refused("would return the prompt", "echo", idle=(False,)),
    **_refused(
        "would return the prompt", "prompt_logprobs", "return_prompt_text", "return_token_ids", "return_token_offsets",
        "return_tokens_as_token_ids",
    ),
    **_refused(
        _ENGINE, "ec_transfer_params", "kv_transfer_params", "logprob_token_ids", "media_io_kwargs",
        "mm_payload", "mm_processor_kwargs", "priority", "prompt_embeds", "prompt_token_ids", "repetition_detection",
        "request_id", "return_mm_kwargs", "routed_experts_prompt_start", "stream_interval", "vllm_xargs",
        "watermarking",
    ),
    **_refused("takes the server's time without a limit", "use_beam_search", idle=(False,)),
    **_refused(
        _GUIDED, "guided_choice", "guided_decoding_backend", "guided_grammar", "guided_json", "guided_regex",
        "guided_whitespace_pattern",
    ),
    # Of other servers and clients
    "repeat_penalty": Rule("translated", "is llama.cpp's and Ollama's name of `repetition_penalty`"),
    "extra_body": Rule("refused", "is an argument of OpenAI's Python client: its content belongs beside 'messages'"),
}  # fmt: skip
"""The rule of each field by its name. Of fields that are not listed, those that begin with `chat_template` are refused;
the others are dropped, or refused by the strict reading. A field that is null counts as left out."""

MESSAGE_FIELDS: dict[str, Rule] = {
    "role": Rule(
        "taken", "`system`, `user` or `assistant`; `developer` is OpenAI's newer word for `system`", strict=True
    ),
    "content": Rule(
        "taken", "a text, or parts of text, which are joined by line breaks; the assistant's may be null", strict=True
    ),
    "name": Rule(
        "translated",
        "`example_user` and `example_assistant` of system messages become the speakers' names; other names stand before"
        " the texts where several speakers share a role, and are dropped otherwise",
    ),
    "tool_calls": Rule("refused", _TOOLS, idle=([],)),
    "function_call": Rule("refused", _TOOLS),
    "tool_call_id": Rule("refused", _TOOLS, idle=("",)),
    **_dropped(
        "is an echo of an answer, or of the client's own", "annotations", "audio", "id", "reasoning",
        "reasoning_content", "reasoning_details", "refusal",
    ),
    **_dropped("the assistant's last message is always continued", "partial", "prefix"),
}  # fmt: skip
"""The rule of each key of a message. Others are dropped; the strict reading refuses those that hold something."""


@dataclass
class Fields:
    """The fields of a request, sorted by their rules."""

    taken: dict[str, Any]
    """What goes on to the model server."""
    dropped: list[str]
    """Names of what was left out; capped, and safe in a header."""
    usage_wanted: bool = False

    def drop(self, name: str) -> None:
        """Note that something was left out."""
        name = _UNSAFE_IN_HEADER.sub("?", name[:_MAX_SHOWN])
        if name not in self.dropped and len(self.dropped) < _MAX_NAMED:
            self.dropped.append(name)


def read_fields(request: Mapping[str, Any], *, strict: bool) -> Fields:
    """Sort the fields of a request by their rules; those that make the prompt are read elsewhere.

    Raises `ApiError` (422) for the first field that is refused.
    """
    if len(request) > MAX_FIELDS:
        raise invalid(None, f"the request has {len(request)} fields; at most {MAX_FIELDS} are allowed")
    fields = Fields({}, [])
    for name, value in request.items():
        rule = FIELDS.get(name) or _rule_of_unknown(name)
        if value is None:
            continue
        if rule.use == "refused" and (strict or not _is_idle(name, value, rule, request)):
            raise invalid(name, f"is not accepted: {rule.note}", code="unsupported_parameter")
        if strict and not rule.strict:
            raise _refused_by_strict(name, rule)
        if rule.use == "taken" and not (name in _LENGTHS and value == -1 and not strict):
            fields.taken[name] = value
        elif rule.use != "translated":
            fields.drop(name)
    _translate(request, fields)
    return fields


def shown(name: str) -> str:
    """A name of the client's, short enough for an error."""
    return name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN] + "…"


def _rule_of_unknown(name: str) -> Rule:
    return Rule("refused", _TEMPLATE) if name.startswith("chat_template") else _UNKNOWN


def _is_idle(name: str, value: Any, rule: Rule, request: Mapping[str, Any]) -> bool:
    if name in ("tools", "functions") and "none" in (request.get("tool_choice"), request.get("function_call")):
        return True
    return value in rule.idle


def _refused_by_strict(name: str, rule: Rule) -> ApiError:
    if rule is not _UNKNOWN:
        return invalid(name, f"is refused by the strict reading: {rule.note}", code="unsupported_parameter")
    close = difflib.get_close_matches(name, FIELDS, n=1)
    advice = f"; did you mean '{close[0]}'?" if close else ""
    return invalid(name, f"is not a field of this endpoint{advice}", code="unknown_parameter")


def _translate(request: Mapping[str, Any], fields: Fields) -> None:
    """Put translated fields of the sampling into the form that the model server knows."""
    taken = fields.taken
    for name in ("stream", "ignore_eos"):
        if not isinstance(taken.get(name, False), bool):
            raise invalid(name, "is neither true nor false")
    _check_count(taken, "n", MAX_CHOICES)
    penalty = request.get("repeat_penalty")
    if penalty is not None:
        taken.setdefault("repetition_penalty", penalty)
    if (user := request.get("user")) is not None:
        label = (user.get("id") or user.get("name")) if isinstance(user, dict) else user
        if isinstance(label, str) and len(label) <= _MAX_USER:
            taken["user"] = label
        else:
            fields.drop("user")
    _translate_stream_options(request.get("stream_options"), fields)


def _translate_stream_options(options: Any, fields: Fields) -> None:
    # The usage is always asked for, since quotas and metrics count by it.
    upstream = {"include_usage": True}
    if options is not None:
        if not isinstance(options, dict):
            raise invalid("stream_options", "is not an object")
        fields.usage_wanted = options.get("include_usage") is True
        if options.get("continuous_usage_stats") is True:
            upstream["continuous_usage_stats"] = True
        if not fields.taken.get("stream"):
            fields.drop("stream_options")
    if fields.taken.get("stream"):
        fields.taken["stream_options"] = upstream


def _check_count(taken: Mapping[str, Any], name: str, limit: int) -> None:
    value = taken.get(name, 1)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise invalid(name, f"is not a whole number from 1 to {limit}")

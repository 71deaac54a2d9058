"""The chat request that applications send: what is accepted, and what of it goes on to the model.

Fields are an allow-list. Whatever reaches the template engine (chat templates and their arguments, documents, tools)
or the engine's internals is refused by name; the sampling settings of OpenAI and vLLM pass as they are.
"""

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from opencharacter.characters import parse_profile
from opencharacter.characters.profile import CharacterProfile
from opencharacter.errors import OpenCharacterError
from opencharacter.serving.endpoint.api_errors import ApiError, invalid

MAX_MESSAGES = 2_000
MAX_PROFILE_CHARACTERS = 32_000
"""Of the rendered system prompt; several times the longest published profile."""

_MAX_CHOICES = 16
_MAX_ERRORS_SHOWN = 5
_MAX_VALUE_SHOWN = 60

PASSED_FIELDS = frozenset(
    {
        # OpenAI
        "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "n",
        "presence_penalty", "prompt_cache_key", "response_format", "safety_identifier", "seed", "service_tier", "stop",
        "store", "stream", "stream_options", "temperature", "top_logprobs", "top_p", "user",
        # vLLM's sampling settings and the salt of its prefix cache
        "allowed_token_ids", "bad_words", "cache_salt", "ignore_eos", "include_stop_str_in_output", "length_penalty",
        "min_p", "min_tokens", "repetition_penalty", "skip_special_tokens", "spaces_between_special_tokens",
        "stop_token_ids", "top_k", "truncate_prompt_tokens",
    }
)  # fmt: skip
"""The request's fields, besides `model`, `messages` and `character`, that go on to the model server unchanged."""

_TEMPLATE_FIELDS = frozenset(
    {
        "add_generation_prompt", "add_special_tokens", "chat_template", "chat_template_kwargs",
        "continue_final_message", "documents", "echo", "reasoning_effort", "tool_choice", "tools",
    }
)  # fmt: skip


def _join_text_parts(content: Any) -> Any:
    """OpenAI's list of text parts as one text, joined as vLLM joins it."""
    if not isinstance(content, list):
        return content
    for position, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                f"part {position} is not of the form {{'type': 'text', 'text': ...}}; only text is understood"
            )
    return "\n".join(part["text"] for part in content)


def _from_text(character: Any) -> Any:
    """A profile in the published text form is read as one."""
    if not isinstance(character, str):
        return character
    try:
        return parse_profile(character)
    except OpenCharacterError as error:
        raise ValueError(str(error)) from error


class Message(BaseModel):
    """One message; keys besides these two are accepted only where they are empty, as clients echo answers back."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_join_text_parts)]

    def as_sent(self) -> dict[str, str]:
        """What the model server gets; `developer` is OpenAI's newer word for `system`."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class ChatRequest(BaseModel):
    """A checked chat request."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    character: Annotated[CharacterProfile | None, BeforeValidator(_from_text)] = None
    n: int = Field(default=1, ge=1, le=_MAX_CHOICES)
    stream: bool = False

    def texts(self) -> Iterator[tuple[str, str]]:
        """Every text that ends up in the prompt, with its path."""
        for position, message in enumerate(self.messages):
            yield f"messages[{position}].content", message.content
        if self.character:
            for name, value in self.character.model_dump(exclude={"id", "provenance"}, exclude_none=True).items():
                yield f"character.{name}", value


def read_chat_request(body: bytes) -> ChatRequest:
    """Parse and check a request. Raises `ApiError`: 400 for what is not JSON, 422 naming the field for the rest."""
    try:
        raw = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the request is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(raw, dict):
        raise invalid(None, "the request must be a JSON object")
    if "character" in raw and raw["character"] is None:
        raise invalid("character", "is null; leave the field out for a chat without a character")
    fields = {name: value for name, value in raw.items() if value is not None}
    _refuse_fields(fields.keys())
    try:
        chat = ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise _as_api_error(error) from error
    _check_messages(chat)
    return chat


def _refuse_fields(names: Any) -> None:
    known = PASSED_FIELDS | set(ChatRequest.model_fields)
    for name in names:
        if name in _TEMPLATE_FIELDS:
            raise invalid(name, "is not accepted: the model's own chat template decides", code="unsupported_parameter")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            advice = f"; did you mean '{close[0]}'?" if close else ""
            raise invalid(_shown_name(name), f"is not a field of this endpoint{advice}", code="unknown_parameter")


def _check_messages(chat: ChatRequest) -> None:
    for position, message in enumerate(chat.messages):
        path = f"messages[{position}]"
        for name, value in (message.model_extra or {}).items():
            if value:
                raise invalid(f"{path}.{_shown_name(name)}", "is not accepted; a message has a role and a text")
        if message.role in ("system", "developer") and chat.character:
            raise invalid(f"{path}.role", "is 'system'; with a character, the profile is the system message")
        if message.role in ("system", "developer") and position:
            raise invalid(f"{path}.role", "a system message must be the first message")
    if chat.messages[-1].role != "user":
        raise invalid(f"messages[{len(chat.messages) - 1}].role", "the last message must be the user's")


def _as_api_error(error: ValidationError) -> ApiError:
    problems = error.errors(include_url=False, include_context=False)
    messages = [f"{_path(problem['loc'])}: {_message_of(problem)}" for problem in problems[:_MAX_ERRORS_SHOWN]]
    if len(problems) > _MAX_ERRORS_SHOWN:
        messages.append(f"and {len(problems) - _MAX_ERRORS_SHOWN} more")
    return ApiError(422, "; ".join(messages), param=_path(problems[0]["loc"]), code="invalid_value")


def _message_of(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("missing", "value_error", "extra_forbidden") or isinstance(problem["input"], dict | list):
        return str(message)
    value = repr(problem["input"])
    return f"{message}, got {value if len(value) <= _MAX_VALUE_SHOWN else value[:_MAX_VALUE_SHOWN] + '…'}"


def _path(parts: tuple[str | int, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown_name(part)}" for part in parts)
    return path.removeprefix(".")


def _shown_name(name: str) -> str:
    return name if len(name) <= _MAX_VALUE_SHOWN else name[:_MAX_VALUE_SHOWN] + "…"

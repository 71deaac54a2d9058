"""The contract: from the bytes of a request to the call of the model server. Pure and synchronous; no I/O."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from opencharacter.serving.endpoint.api_errors import ApiError, invalid
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.contract.character import (
    Character,
    Characters,
    read_character,
    read_own_fields,
)
from opencharacter.serving.endpoint.contract.fields import Fields, read_fields, shown
from opencharacter.serving.endpoint.contract.grammar_limits import check_grammar
from opencharacter.serving.endpoint.contract.json_reading import read_json
from opencharacter.serving.endpoint.contract.messages import read_messages
from opencharacter.serving.endpoint.contract.prompt import ServedPrompt
from opencharacter.serving.endpoint.contract.sampling_limits import check_sampling
from opencharacter.serving.endpoint.settings import EndpointSettings

CHARACTER_HEADER = "x-character"

_MAX_LISTED = 20
_MAX_MODEL = 256


class _Prompt(NamedTuple):
    """A request whose character is rendered."""

    fields: Fields
    payload: dict[str, Any]
    """Model and messages."""
    character_id: str | None


class Contract:
    """What requests mean for one served model."""

    def __init__(self, prompt: ServedPrompt, model: str, library: Characters, settings: EndpointSettings) -> None:
        self._prompt = prompt
        self._model = model
        self._library = library
        self._settings = settings

    def chat(self, body: bytes, headers: Mapping[str, str], *, strict: bool) -> Call:
        """Read and check a chat request and render its character.

        Args:
            body: As it came, no larger than `max_body_bytes`.
            headers: Of the request; names in lower case.
            strict: Whether a field that is not understood is refused.

        Raises:
            ApiError: 400 for what is not JSON, 404 for a character that does not exist, 413 for too many values or
                too long a prompt, 422 naming the field for the rest.
        """
        prompt = self._read(body, headers, strict)
        fields = prompt.fields
        check_sampling(fields.taken, self._settings)
        check_grammar(fields.taken, self._settings)
        return Call(
            path="/v1/chat/completions",
            body=_to_json({**prompt.payload, **fields.taken}),
            stream=fields.taken.get("stream", False),
            model=prompt.payload["model"],
            character_id=prompt.character_id,
            dropped=tuple(fields.dropped),
            choices=fields.taken.get("n", 1),
            max_tokens=_max_tokens(fields.taken),
            usage_wanted=fields.usage_wanted,
        )

    def tokenize(self, body: bytes, headers: Mapping[str, str], *, strict: bool) -> Call:
        """Read a chat request and count the tokens of its prompt, the character's included.

        The answer holds the count and the model's limit, not the tokens: they would be the prompt of a character that
        may be the server's own. Raises `ApiError` as `chat` does.
        """
        prompt = self._read(body, headers, strict)
        return Call(
            path="/tokenize",
            body=_to_json(prompt.payload),
            stream=False,
            model=prompt.payload["model"],
            character_id=prompt.character_id,
            dropped=tuple(prompt.fields.dropped),
            max_tokens=0,
            kept=("count", "max_model_len"),
        )

    def refresh(self) -> list[str]:
        """Read the characters whose files changed, in a thread beside the requests; returns what is wrong with them."""
        return self._library.refresh()

    def models(self, listed: bytes) -> bytes:
        """The model server's list of models with an entry for each character, after the models themselves."""
        models = json.loads(listed)
        unlisted = {"object": "model", "owned_by": "opencharacter"}
        base = next((model for model in models["data"] if model["id"] == self._model), unlisted)
        models["data"] += [
            {**base, "id": f"{self._model}/{character}", "parent": self._model, "permission": []}
            for character in self._library.ids()
        ]
        # `models` is the list of KServe's own v1 protocol, which has the same path.
        return _to_json(models | {"models": [model["id"] for model in models["data"]]})

    def _read(self, body: bytes, headers: Mapping[str, str], strict: bool) -> "_Prompt":
        request = read_json(body, self._settings)
        fields = read_fields(request, strict=strict)
        model, character = self._character(request, headers, fields, strict)
        messages = read_messages(
            request.get("messages"), fields, strict=strict, with_character=character.profile is not None
        )
        rendered = self._prompt.render(character, messages, strict=strict)
        size = sum(len(message["content"]) for message in rendered.messages)
        if size > self._settings.max_prompt_characters:
            most = self._settings.max_prompt_characters
            raise ApiError(
                413, f"the prompt has {size} characters; at most {most} are allowed", code="prompt_too_large"
            )
        payload: dict[str, Any] = {"model": model, "messages": rendered.messages}
        if rendered.continues:
            payload |= {"add_generation_prompt": False, "continue_final_message": True}
        return _Prompt(fields, payload, character.id)

    def _character(
        self, request: Mapping[str, Any], headers: Mapping[str, str], fields: Fields, strict: bool
    ) -> tuple[str, Character]:
        """The model server's name of the model, and who is played: the body's, the header's or the model name's."""
        model, named = self._read_model(request.get("model"))
        value = request.get("character")
        if value is not None:
            character = read_character(value, fields, strict=strict)
        elif header := headers.get(CHARACTER_HEADER):
            character = self._from_library(header, "X-Character")
        elif named:
            character = self._from_library(named, "model")
        else:
            character = Character()
        return model, read_own_fields(request, character)

    def _read_model(self, model: Any) -> tuple[str, str | None]:
        if model is None or model == "":
            return self._model, None
        if not isinstance(model, str) or len(model) > _MAX_MODEL:
            raise invalid("model", f"is not a name of at most {_MAX_MODEL} characters")
        if model.startswith(f"{self._model}/"):
            return self._model, model[len(self._model) + 1 :]
        return model, None

    def _from_library(self, character_id: str, param: str) -> Character:
        character = self._library.get(character_id)
        if character is not None:
            return character
        ids = self._library.ids()
        more = f" and {len(ids) - _MAX_LISTED} more" if len(ids) > _MAX_LISTED else ""
        there = f"there are: {', '.join(ids[:_MAX_LISTED])}{more}" if ids else "this endpoint has none of its own"
        raise ApiError(
            404, f"{param}: no character '{shown(character_id)}'; {there}", param=param, code="character_not_found"
        )


def _max_tokens(taken: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(value := taken.get(name), int):
            return value
    return None


def _to_json(value: Any) -> bytes:
    from pydantic_core import to_json

    return to_json(value)

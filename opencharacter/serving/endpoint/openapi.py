"""The OpenAPI description of the endpoint's own routes, at `/openapi.json`: for clients, gateways and tests."""

from typing import Any

from opencharacter.serving.endpoint.contract.fields import FIELDS, MAX_CHOICES
from opencharacter.serving.endpoint.settings import EndpointSettings

_TEXT = {"type": "string"}
_SWITCH = {"type": "boolean"}
_NUMBER = {"type": "number"}
_WHOLE = {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}
_WHOLES = {"type": "array", "items": {"type": "integer", "minimum": 0}}

_FORMS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("model", "scenario", "example_dialogue", "user_name", "greeting", "cache_salt"), _TEXT),
    **dict.fromkeys(("stream", "logprobs", "ignore_eos", "include_stop_str_in_output"), _SWITCH),
    **dict.fromkeys(("skip_special_tokens", "spaces_between_special_tokens"), _SWITCH),
    **dict.fromkeys(("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"), _NUMBER),
    **dict.fromkeys(("length_penalty", "repetition_penalty", "repeat_penalty"), _NUMBER),
    **dict.fromkeys(("seed", "top_k", "min_tokens"), _WHOLE),
    "user": {"type": ["string", "object"]},
    "messages": {"type": "array", "items": {"$ref": "#/components/schemas/Message"}, "minItems": 1},
    "character": {"$ref": "#/components/schemas/Character"},
    "stream_options": {"type": "object", "properties": {"include_usage": _SWITCH}},
    "response_format": {
        "type": "object",
        "properties": {"type": {"enum": ["text", "json_object", "json_schema"]}, "json_schema": {"type": "object"}},
        "required": ["type"],
    },
    "structured_outputs": {
        "type": "object",
        "properties": {"json": {"type": "object"}, "regex": _TEXT, "choice": _TEXTS, "json_object": _SWITCH},
    },
}

_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {
            "type": ["string", "array", "null"],
            "items": {
                "type": "object",
                "properties": {"type": {"const": "text"}, "text": _TEXT},
                "required": ["type", "text"],
            },
        },
        "name": _TEXT,
    },
    "required": ["role"],
}
_CHARACTER = {
    "description": "A profile or a Character Card's plain fields; or a profile's text, or a persona, as a text.",
    "type": ["object", "string", "null"],
    "properties": dict.fromkeys(
        ("name", "persona", "age", "gender", "race", "birth_place", "appearance", "experience", "personality"), _TEXT
    ),
}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}
_ERRORS = {
    "400": "not JSON, or the model server's own complaint",
    "401": "no API key, or an unknown one",
    "403": "a key that may not do this",
    "404": "no such model or character",
    "405": "another method is meant",
    "408": "the request did not arrive in time",
    "413": "too large",
    "415": "not JSON by its content type",
    "422": "a field is wrong; `param` is its path",
    "429": "too many requests or tokens; see Retry-After",
    "431": "the head of the request is too large",
    "501": "not served here",
    "502": "the model server failed",
    "503": "the model server cannot be reached",
    "504": "no answer in time",
}
_CHARACTER_HEADER = {
    "name": "X-Character",
    "in": "header",
    "description": "A character of the server, by its id.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
}


def describe(settings: EndpointSettings, prefix: str) -> dict[str, Any]:
    """The description, with the limits of the settings; `prefix` is that of the OpenAI API's routes."""
    chat = {
        "type": "object",
        "properties": {name: _form(name, settings) for name, rule in FIELDS.items() if rule.use != "refused"},
        "required": ["messages"],
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Chat with characters", "version": "1"},
        "servers": [{"url": prefix}],
        "paths": {
            "/chat/completions": {"post": _call("The next message of a chat, in character", chat, stream=True)},
            "/tokenize": {"post": _call("The number of tokens of a chat's prompt", chat)},
            "/models": {"get": {"summary": "The model, and its characters by name", "responses": _responses()}},
        },
        "components": {"schemas": {"Message": _MESSAGE, "Character": _CHARACTER, "Error": _ERROR}},
    }


def _form(name: str, settings: EndpointSettings) -> dict[str, Any]:
    limits: dict[str, dict[str, Any]] = {
        "n": {**_WHOLE, "minimum": 1, "maximum": MAX_CHOICES},
        "max_tokens": {**_WHOLE, "minimum": 1, "maximum": settings.max_answer_tokens},
        "max_completion_tokens": {**_WHOLE, "minimum": 1, "maximum": settings.max_answer_tokens},
        "top_logprobs": {**_WHOLE, "minimum": 0, "maximum": settings.max_logprobs},
        "stop": {"type": ["string", "array"], "items": _TEXT, "maxItems": settings.max_stop_strings},
        "bad_words": {**_TEXTS, "maxItems": settings.max_bad_words},
        "allowed_token_ids": {**_WHOLES, "maxItems": settings.max_allowed_token_ids},
        "stop_token_ids": {**_WHOLES, "maxItems": settings.max_stop_token_ids},
        "logit_bias": {
            "type": "object",
            "additionalProperties": _NUMBER,
            "propertyNames": {"pattern": "^[0-9]{1,9}$"},
            "maxProperties": settings.max_logit_bias,
        },
    }
    form = limits.get(name) or _FORMS.get(name, {})
    return {**form, "description": FIELDS[name].note} if "$ref" not in form else form


def _call(summary: str, body: dict[str, Any], *, stream: bool = False) -> dict[str, Any]:
    answers: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if stream:
        answers["text/event-stream"] = {"schema": _TEXT}
    return {
        "summary": summary,
        "parameters": [_CHARACTER_HEADER],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": _responses(answers),
    }


def _responses(answers: dict[str, Any] | None = None) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": "an answer", "content": answers or {"application/json": {"schema": {"type": "object"}}}},
        **{status: {"description": text, "content": error} for status, text in _ERRORS.items()},
    }

"""Limits of the sampling fields: what one request may cost, and what the engine itself has room for.

vLLM's workers hold a request's lists in rows of a fixed width and stop, with every stream, where one is too long: 1,024
entries of `logit_bias` and `allowed_token_ids`, 128 stop tokens, 128 forms and 1,024 tokens of `bad_words`.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from opencharacter.serving.endpoint.api_errors import invalid
from opencharacter.serving.endpoint.settings import EndpointSettings

_TOKEN_ID = re.compile(r"\d{1,9}", re.ASCII)
_UNENDING = ("ignore_eos", "min_tokens", "logit_bias", "allowed_token_ids", "bad_words")
"""With one of these an answer may never end by itself."""


def check_sampling(fields: dict[str, Any], settings: EndpointSettings) -> None:
    """Check the sampling fields that go on to the model server; `n` is a whole number already.

    Sets `max_tokens` where the request has none and its answers would have no other end than the model's context.

    Raises:
        ApiError: 422 with the field at fault.
    """
    _check_budget(fields, settings)
    if (stop := fields.get("stop")) is not None:
        _check_texts(
            "stop", [stop] if isinstance(stop, str) else stop, settings.max_stop_strings, settings.max_stop_length
        )
    if (words := fields.get("bad_words")) is not None:
        _check_bad_words(words, settings)
    if (bias := fields.get("logit_bias")) is not None:
        _check_logit_bias(bias, settings.max_logit_bias)
    _check_token_ids(fields, "allowed_token_ids", settings.max_allowed_token_ids)
    _check_token_ids(fields, "stop_token_ids", settings.max_stop_token_ids)
    for name in ("logprobs", "top_logprobs"):
        value = fields.get(name)
        if not (value is None or isinstance(value, bool)):
            _check_range(fields, name, 0, settings.max_logprobs)
    _check_range(fields, "top_k", -1, (1 << 31) - 1)
    _check_range(fields, "seed", -(1 << 63), (1 << 63) - 1)
    # Beyond these a float32 of the engine overflows.
    _check_range(fields, "repetition_penalty", 0.1, 10)


def _check_budget(fields: dict[str, Any], settings: EndpointSettings) -> None:
    """`n` x `max_tokens`."""
    choices = fields.get("n") or 1
    names = [name for name in ("max_completion_tokens", "max_tokens") if fields.get(name) is not None]
    if not names and (choices > 1 or any(fields.get(name) for name in _UNENDING)):
        fields["max_tokens"] = min(settings.default_max_tokens, settings.max_answer_tokens // choices)
    for name in names:
        _check_range(fields, name, 1, settings.max_answer_tokens)
        if (tokens := choices * fields[name]) > settings.max_answer_tokens:
            raise invalid(
                name,
                f"n x {name} is {tokens} tokens; at most {settings.max_answer_tokens} are allowed in one request",
            )
    _check_range(fields, "min_tokens", 0, settings.max_answer_tokens)


def _check_range(fields: Mapping[str, Any], name: str, least: float, most: float) -> None:
    value = fields.get(name)
    if value is None:
        return
    kind = float if isinstance(least, float) else int
    if isinstance(value, bool) or not isinstance(value, kind | int) or not least <= value <= most:
        what = "a number" if kind is float else "a whole number"
        raise invalid(name, f"is not {what} from {least} to {most}")


def _check_texts(name: str, texts: Any, most: int, longest: int) -> None:
    if not isinstance(texts, list):
        raise invalid(name, "is not a list of texts")
    if len(texts) > most:
        raise invalid(name, f"has {len(texts)} entries; at most {most} are allowed")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise invalid(f"{name}[{position}]", "is not a text")
        if not 1 <= len(text) <= longest:
            raise invalid(f"{name}[{position}]", f"has {len(text)} characters; 1 to {longest} are allowed")


def _check_bad_words(words: Any, settings: EndpointSettings) -> None:
    # A word has no more tokens than bytes, and vLLM takes each word with and without a space before it.
    _check_texts("bad_words", words, settings.max_bad_words, settings.max_bad_words_bytes)
    total = sum(1 + len(unicodedata.normalize("NFKD", word).encode()) for word in words)
    if total > settings.max_bad_words_bytes:
        raise invalid(
            "bad_words", f"holds {total} bytes; at most {settings.max_bad_words_bytes} are allowed, one more each word"
        )


def _check_logit_bias(bias: Any, most: int) -> None:
    if not isinstance(bias, dict):
        raise invalid("logit_bias", "is not an object of token ids and numbers")
    if len(bias) > most:
        raise invalid("logit_bias", f"has {len(bias)} entries; at most {most} are allowed")
    for token, value in bias.items():
        if not _TOKEN_ID.fullmatch(token) or isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid("logit_bias", f"'{token}' is not a token id with a number")


def _check_token_ids(fields: Mapping[str, Any], name: str, most: int) -> None:
    ids = fields.get(name)
    if ids is None:
        return
    if not isinstance(ids, list) or not all(type(token) is int and 0 <= token < 1 << 31 for token in ids):
        raise invalid(name, "is not a list of token ids")
    if len(ids) > most:
        raise invalid(name, f"has {len(ids)} entries; at most {most} are allowed")

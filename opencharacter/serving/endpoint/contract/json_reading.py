"""A request's body, from bytes to a JSON object: its size is known, its structure is capped before it is parsed."""

import json
import re
from typing import Any

import orjson

from opencharacter.serving.endpoint.api_errors import ApiError, invalid
from opencharacter.serving.endpoint.settings import EndpointSettings

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_GRAMMAR_FIELDS = frozenset({"response_format", "structured_outputs"})
"""Their keys are names of properties, and their size has its own limit."""


def read_json(body: bytes, settings: EndpointSettings) -> dict[str, Any]:
    """Parse the body of a request, which is no larger than `max_body_bytes`.

    Args:
        body: UTF-8, as RFC 8259 has it: no NaN, no lone surrogate, no byte order mark.
        settings: `max_json_values`, `max_json_depth`, `max_key_length`.

    Returns:
        The object; keys of any depth are unique and, outside of schemas, short.

    Raises:
        ApiError: 400 for what is not JSON, 413 for too many values, 422 for what else is wrong with it.
    """
    if _holds_more_values(body, settings.max_json_values):
        raise ApiError(413, f"the request holds more than {settings.max_json_values} values", code="request_too_large")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the request is not valid JSON: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise invalid(None, "the request must be a JSON object")
    # A text has a colon for each member; where it has no other, no member has been lost.
    if _count_keys(value, settings) != body.count(b":"):
        _refuse_doubled_keys(body)
    return value


def _holds_more_values(body: bytes, most: int) -> bool:
    """Whether the JSON text has more values than `most`: than separators and opening brackets, and one."""
    if len(body) <= most or _count_separators(body) < most:
        return False
    # A value has one text, or two with its key; so the work is bounded, too.
    without_texts, texts = _STRING.subn(b"", body, count=2 * most + 1)
    return texts > 2 * most or _count_separators(without_texts) >= most


def _count_separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _count_keys(value: dict[str, Any], settings: EndpointSettings) -> int:
    """All members of all objects. Raises `ApiError` for a key that is too long, or for too many levels."""
    count = 0
    level: list[tuple[Any, bool]] = [(value, False)]
    for depth in range(settings.max_json_depth):
        below: list[tuple[Any, bool]] = []
        for node, in_grammar in level:
            if isinstance(node, list):
                below += [(child, in_grammar) for child in node if isinstance(child, dict | list)]
                continue
            count += len(node)
            for key, child in node.items():
                if len(key) > settings.max_key_length and not in_grammar:
                    raise _too_long(key, settings.max_key_length)
                if isinstance(child, dict | list):
                    below.append((child, in_grammar or (depth == 0 and key in _GRAMMAR_FIELDS)))
        if not below:
            return count
        level = below
    raise invalid(None, f"the request nests lists and objects deeper than {settings.max_json_depth} levels")


def _too_long(key: str, limit: int) -> ApiError:
    return invalid(
        None,
        f"the key '{key[:limit]}…' has {len(key)} characters; at most {limit} are allowed",
        code="unknown_parameter",
    )


def _refuse_doubled_keys(body: bytes) -> None:
    """Raise `ApiError` (422) if an object has a key twice: readers differ in which of the two they take."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) == len(pairs):
            return members
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise invalid(name[:64], "stands twice in one object")

    json.loads(body, object_pairs_hook=unique)

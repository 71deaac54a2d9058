"""Reads the error of a model server, in the forms that servers give it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from opencharacter.redaction import redact

_TEXTS = {"message", "msg", "detail", "details", "error", "errors", "error_msg", "error_message", "error_description",
          "description", "raw", "title", "metadata", "reasons", "reason", "fieldViolations"}  # fmt: skip
_CODES = {"code", "type", "status", "error_code", "reason"}
_FIELDS = {"param", "parameter", "loc", "field"}
_LONGEST = 500
_DEEPEST = 8
_WAIT = re.compile(
    r"(?:try again|retry(?:ing)?|wait|available again|reset)\D{0,20}?"
    r"(?P<wait>(?:\d+(?:\.\d+)?\s*(?:ms|milliseconds?|h(?:ours?)?|m(?:in(?:utes?)?)?|s(?:ec(?:onds?)?)?)\b\s*|"
    r"\d+(?:\.\d+)?(?:h|m|s)(?=\d))+)",
    re.IGNORECASE,
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|h|m|s)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "milli": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class ServerWords:
    """What a server says of an error."""

    text: str
    codes: tuple[str, ...] = ()
    """Its codes and types, as they are."""
    fields: tuple[str, ...] = ()
    """Fields of the request that it names."""
    status: int | None = None
    """An HTTP status among the codes."""
    retry_after_s: float | None = None


def read_words(body: bytes) -> ServerWords:
    """The words in the body of an error answer; of a page nothing but that it is one."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        text = " ".join(body[: 4 * _LONGEST].decode(errors="replace").split())
        return _of_text("an HTML page" if text.startswith("<") else text)
    return read_error(value)


def read_error(value: Any) -> ServerWords:
    """The words in the JSON of an error."""
    texts: list[str] = []
    codes: list[str] = []
    fields: list[str] = []
    waits: list[float] = []
    for key, leaf in _leaves(value, "message", 0):
        if key in _FIELDS:
            fields.append(str(leaf))
        elif key == "retryDelay":
            waits.append(seconds(str(leaf)) or 0.0)
        elif key in _CODES and (key != "reason" or str(leaf).isupper()):
            codes.append(str(leaf))
        elif isinstance(leaf, str) and leaf.strip() and leaf.strip() not in texts:
            texts.append(leaf.strip())
    words = _of_text("; ".join(texts))
    status = next((int(code) for code in codes if re.fullmatch(r"[345]\d\d", code)), None)
    wait = max(waits) if waits else words.retry_after_s
    return ServerWords(words.text or ", ".join(codes)[:_LONGEST], tuple(codes), tuple(fields), status, wait)


def seconds(text: str) -> float | None:
    """A duration such as `1m26.4s`, `12 seconds` or `500ms`."""
    parts = _DURATION.findall(text)
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts) if parts else None


def _of_text(text: str) -> ServerWords:
    text = redact(" ".join(text.split()))  # before it is shortened, so that no part of a key is left
    wait = _WAIT.search(text)
    shown = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return ServerWords(shown, retry_after_s=seconds(wait["wait"]) if wait else None)


def _leaves(value: Any, key: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Texts, codes and names of fields, with their keys; what a server repeats of the request is not among them."""
    if depth > _DEEPEST or value is None:
        return
    if isinstance(value, dict):
        for name, part in value.items():
            if name in _TEXTS or name in _CODES or name in _FIELDS or name == "retryDelay":
                yield from _leaves(part, name, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, key, depth + 1)
    elif isinstance(value, str) and value.lstrip()[:1] in {"{", "["} and key in _TEXTS:
        try:
            yield from _leaves(json.loads(value), key, depth + 1)
        except (ValueError, RecursionError):
            yield key, value
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield key, value

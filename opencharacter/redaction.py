"""Keeps secrets out of what people read: messages, logs, files."""

import base64
import html
import json
import re
from functools import cache
from urllib.parse import quote, quote_plus

_SHORT = 8
_PLACEHOLDERS = {"dummy", "empty", "key", "lm-studio", "no-key", "none", "not-needed", "null", "ollama", "test", "vllm"}
"""What people set as the key of a server that needs none; their words in messages are no secret."""
_secrets: set[str] = set()


def protect(secret: str) -> None:
    """Have `redact` hide this text, in every form that a program may give it."""
    # A program may show a part of a secret alone that spans several lines.
    parts = [part for part in re.split(r"[\x00-\x1f\x7f-\x9f]+", secret) if len(part) >= _SHORT]
    new = {secret, *parts} - _secrets if secret.strip() and secret.lower() not in _PLACEHOLDERS else set()
    if new:
        _secrets.update(new)
        _pattern.cache_clear()


def redact(text: str) -> str:
    """The text with `***` in place of every protected secret."""
    return _pattern().sub("***", text) if _secrets else text


@cache
def _pattern() -> re.Pattern[str]:
    forms = {form for secret in _secrets for form in _forms(secret)}
    return re.compile("|".join(sorted(forms, key=len, reverse=True)))


def _forms(secret: str) -> set[str]:
    """Patterns of a secret: as it is, escaped, and encoded."""
    texts = {
        secret,
        repr(secret)[1:-1],
        ascii(secret)[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
    }
    if len(secret) < _SHORT:
        # Within words it would hide what is no secret.
        return {rf"(?<!\w){re.escape(text)}(?!\w)" for text in texts}
    encoded = {quote(secret), quote(secret, safe=""), quote_plus(secret), secret.encode().hex()}
    return (
        {re.escape(text) for text in texts}
        | {f"(?i:{re.escape(text)})" for text in encoded}
        | {re.escape(text) for text in _base64_forms(secret.encode())}
    )


def _base64_forms(secret: bytes) -> set[str]:
    """What base64 makes of the secret, wherever in a longer text it begins."""
    forms = set()
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + secret).decode().rstrip("=")
            # The characters that the neighbours decide as well are left out.
            first = (before * 8 + 5) // 6
            forms.add(text[first : (before + len(secret)) * 8 // 6])
    return forms

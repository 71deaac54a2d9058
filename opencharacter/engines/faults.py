"""Classifies what comes in place of a reply: retry, give up the request, or stop the engine."""

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from opencharacter.engines.transport import HttpAnswer, TransportError, Unreachable

_LONGEST_RETRY_AFTER_S = 120.0
_LONGEST_BODY = 300
_FORMAT_WORDS = ("response_format", "json_schema", "structured output", "guided decoding")


class FaultKind(Enum):
    """What to do about it."""

    UNREACHABLE = auto()
    """No connection: not the request's fault; retried until the server counts as down."""
    BUSY = auto()
    """429: retried with fewer requests at once."""
    BROKEN = auto()
    """5xx, a time-out or a broken connection: retried."""
    UNSUPPORTED_FORMAT = auto()
    """The server does not support `response_format`: retried without it."""
    BAD_REQUEST = auto()
    """The server rejects this request: never retried."""
    FATAL = auto()
    """A wrong key, model name or path: every request would fail."""


@dataclass(frozen=True)
class Fault:
    """A classified error."""

    kind: FaultKind
    message: str
    retry_after_s: float | None = None
    """Seconds that the server asked to wait, at most 120."""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind in {FaultKind.UNREACHABLE, FaultKind.BUSY, FaultKind.BROKEN}


def classify_exception(error: TransportError) -> Fault:
    """The fault behind a request without a whole answer."""
    return Fault(FaultKind.UNREACHABLE if isinstance(error, Unreachable) else FaultKind.BROKEN, str(error))


def classify_answer(answer: HttpAnswer) -> Fault:
    """The fault that an answer with an error status tells of."""
    status, message = answer.status, _server_message(answer)
    if status == 429:
        return Fault(FaultKind.BUSY, message, _retry_after(answer.headers))
    if status >= 500 or status in {408, 409}:
        return Fault(FaultKind.BROKEN, message, _retry_after(answer.headers))
    if status in {401, 403, 404}:
        return Fault(FaultKind.FATAL, message)
    if status in {400, 422} and any(word in message.lower() for word in _FORMAT_WORDS):
        return Fault(FaultKind.UNSUPPORTED_FORMAT, message)
    return Fault(FaultKind.BAD_REQUEST, message)


def _server_message(answer: HttpAnswer) -> str:
    """Status and the server's own words, where its body has the usual form."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    error = body.get("error", body) if isinstance(body, dict) else None
    words = error.get("message") if isinstance(error, dict) else error
    return f"{answer.status}: {words or answer.body[:_LONGEST_BODY].decode(errors='replace')}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The Retry-After header: seconds or a date (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_S)

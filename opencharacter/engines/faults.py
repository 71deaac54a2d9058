"""Classifies errors of the OpenAI client: retry, give up the request, or stop the engine."""

import email.utils
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx
    import openai

_LONGEST_RETRY_AFTER_S = 120.0
_CONNECT_FAILURES = {"ConnectError", "ConnectTimeout"}
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


def classify(error: Exception) -> Fault:
    """The fault behind an exception of the OpenAI client (or of reading its answer)."""
    import openai

    cause = error.__cause__
    if type(cause).__name__ in _CONNECT_FAILURES:
        return Fault(FaultKind.UNREACHABLE, str(cause) or type(cause).__name__)
    if isinstance(error, openai.APITimeoutError):
        return Fault(FaultKind.BROKEN, "no answer in time")
    if isinstance(error, openai.APIConnectionError):
        return Fault(FaultKind.BROKEN, f"connection broken: {cause}")
    if isinstance(error, openai.APIStatusError):
        return _classify_status(error.status_code, _server_message(error), error.response.headers)
    return Fault(FaultKind.BROKEN, f"the answer is not a chat completion: {error}")


def _classify_status(status: int, message: str, headers: "httpx.Headers") -> Fault:
    if status == 429:
        return Fault(FaultKind.BUSY, message, _retry_after(headers))
    if status >= 500 or status in {408, 409}:
        return Fault(FaultKind.BROKEN, message, _retry_after(headers))
    if status in {401, 403, 404}:
        return Fault(FaultKind.FATAL, message)
    if status in {400, 422} and any(word in message.lower() for word in _FORMAT_WORDS):
        return Fault(FaultKind.UNSUPPORTED_FORMAT, message)
    return Fault(FaultKind.BAD_REQUEST, message)


def _server_message(error: "openai.APIStatusError") -> str:
    """Status and the server's own words, where its body has the usual form."""
    detail = error.body.get("message") if isinstance(error.body, dict) else None
    return f"{error.status_code}: {detail}" if detail else error.message


def _retry_after(headers: "httpx.Headers") -> float | None:
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

"""What comes in place of a reply: one table of faults, by how far each of them reaches.

| Scope | What happens | Faults |
|---|---|---|
| chance | the same request, or the row's next attempt, may succeed | unreachable, busy, broken, spoiled |
| row | the row is rejected with the server's words | rejected; forbidden, once the server has answered others |
| parameter | sent without it (a JSON schema), or the run stops and names it | format, schema, parameter |
| account | the run stops; no row is rejected | account; forbidden, before the server has answered anything |
"""

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from opencharacter.engines.server_words import ServerWords, read_error, read_words
from opencharacter.engines.transport import HttpAnswer, TransportError, Unreachable

LONGEST_WAIT_S = 3600.0
"""Seconds that a server may ask to wait; one that asks for more has no quota left."""

SYSTEM_ROLE = "system role"
"""Name of the parameter where a server takes no system message."""

_FIELDS = ("max_tokens", "max_completion_tokens", "seed", "temperature", "top_p", "repetition_penalty")
"""Fields of a request that a server may not know, or limit."""


class FaultKind(Enum):
    """What happened."""

    UNREACHABLE = auto()
    """No connection: not the request's fault; asked again until the server counts as down."""
    BUSY = auto()
    """Too many requests: asked again with fewer at once, as often as it takes."""
    BROKEN = auto()
    """5xx, a time-out, a broken connection, no chat completion: asked again."""
    SPOILED = auto()
    """The server rejected what the model wrote: the row's next attempt, with another seed, may do better."""
    FORMAT = auto()
    """The server does not support `response_format`: asked without it from then on."""
    SCHEMA = auto()
    """The server's grammar does not take this JSON schema: asked without it."""
    PARAMETER = auto()
    """The server does not take a field of the request or its value: every request would fail."""
    REJECTED = auto()
    """The server rejects this request."""
    FORBIDDEN = auto()
    """403: this request (moderation), or every request (a right that is missing)."""
    ACCOUNT = auto()
    """A wrong key, no credit, an unknown model or path: every request would fail."""


@dataclass(frozen=True)
class Fault:
    """A classified error."""

    kind: FaultKind
    message: str
    """The status and the server's words."""
    retry_after_s: float | None = None
    """Seconds that the server asked to wait."""
    parameter: str | None = None
    """The field that the server does not take."""
    reason: str | None = None
    """Why a row is rejected, where it has a name of its own."""

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.kind in {FaultKind.UNREACHABLE, FaultKind.BUSY, FaultKind.BROKEN}


def classify_answer(answer: HttpAnswer) -> Fault:
    """The fault of an answer whose status is not 200."""
    words = read_words(answer.body)
    asked = _retry_after(answer.headers)
    return _classify(answer.status, words, words.retry_after_s if asked is None else asked)


def classify_error(error: Any) -> Fault:
    """The fault of an error object under status 200: by its own code and words."""
    words = read_error(error)
    shown = f"200 with error {words.status}" if words.status else "200 with an error"
    return _classify(words.status or _status_of(words), words, words.retry_after_s, shown=shown)


def classify_exception(error: TransportError) -> Fault:
    """The fault of a request without a whole answer."""
    return Fault(FaultKind.UNREACHABLE if isinstance(error, Unreachable) else FaultKind.BROKEN, str(error))


def remedy(fault: Fault, model: str) -> str:
    """What to set so that the server takes the request."""
    engine = f"in the engine of model '{model}' set request:"
    if fault.parameter == SYSTEM_ROLE:
        return f"{engine} {{system_role: merge}}"
    if (other := _USE_OTHER.search(fault.message)) and other["name"] != fault.parameter:
        return f"{engine} {{rename: {{{fault.parameter}: {other['name']}}}}}"
    if fault.parameter == "max_tokens" and _TOO_MUCH.search(fault.message):
        return f"lower the sampling's max_tokens, or {engine} {{omit: [max_tokens]}}"
    return f"{engine} {{omit: [{fault.parameter}]}}"


def _any_of(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words), re.IGNORECASE)


_USE_OTHER = _any_of(r"\buse ['\"`]?(?P<name>max_\w+)['\"`]?")
_TOO_MUCH = _any_of(r"too (?:large|high|big)", r"at most", r"maximum", r"exceeds?\b", r"less than", r"range", r"[<>]")
_NO_CREDIT = _any_of(
    r"insufficient[ _](?:quota|credit|balance|fund)", r"(?:not|n't have) enough (?:credit|balance|quota)",
    r"credit balance is too low", r"out of credits?\b", r"requires more credits", r"payment[ _]required", r"arrear",
    r"billing_", r"spend(?:ing)?[ _]limit", r"key limit exceeded", r"account (?:\S+ )?(?:is |has been )?"
    r"(?:suspended|deactivated|disabled|not active|not in good standing)", r"account_deactivated", "余额", "欠费",
)  # fmt: skip
_PERHAPS_NO_CREDIT = _any_of(
    # Also said of a limit by the minute, with the time to wait.
    r"\bbilling\b", r"exceeded?_?(?: your)? ?current[ _]quota", r"quota[ _](?:is )?(?:exhausted|exceeded)",
    r"usage limits?\b", r"per[- ]day\b", r"daily (?:limit|quota)", r"in good standing",
)  # fmt: skip
_NO_ACCESS = _any_of(
    r"(?:invalid|incorrect|expired|revoked|missing|no valid)[ _](?:api[ _-]?|access |auth\w* |bearer )(?:key|token)\b",
    r"api[ _-]?key (?:is )?(?:not|invalid|expired|missing)", r"invalid_api_key", r"authentication_error",
    r"model_not_found", r"\bmodel\b.{0,80}(?:does not exist|not found|not a valid model)", r"not a valid model",
    r"not have access to (?:the )?model", r"(?:country|region|territory|location) (?:is )?not supported",
)  # fmt: skip
_TOO_MANY = _any_of(r"rate[ _-]?limit", r"too many (?:concurrent )?requests", r"throttl", r"overloaded")
_SPOILED = _any_of(
    r"json_validate_failed", r"failed to (?:generate|validate) json", r"generated json does not match",
    r"output_parse_failed", r"tool_use_failed",
)  # fmt: skip
_FILTERED = _any_of(
    r"content[ _](?:filter|management|policy|moderation)", r"responsibleai", r"\bmoderation", r"\bflagged\b",
    r"data_?inspection_?failed", r"safety (?:system|filter|setting)s?", r"inappropriate content",
    r"content exists risk", "敏感",
)  # fmt: skip
_TOO_LARGE = _any_of(r"request too large")  # for the limit of a minute
_TOO_LONG = _any_of(
    r"context[ _](?:length|window|size)", r"(?:prompt|input|request|message)s?\b.{0,40}too (?:long|large)",
    r"input[ _](?:tokens?|length)", r"reduce the length", r"max_model_len", r"prompt tokens",
)  # fmt: skip
_SCHEMA = _any_of(
    r"grammar", r"schema contains", r"(?:invalid|unsupported) (?:json )?schema", r"too many states",
    r"schema .{0,60}(?:too (?:complex|large|deep)|not (?:valid|permitted|allowed))", r"number of repetitions",
    r"\b(?:max|min)(?:Length|Items)\b", r"additionalProperties",
)  # fmt: skip
_FORMAT = _any_of(
    r"response[ _]?format", r"json_schema", r"structured[ _]outputs?", r"guided[ _](?:decoding|json)", r"json mode",
)  # fmt: skip
_NO_SYSTEM = _any_of(
    r"system['\"`]? (?:role|message|prompt|instruction)s? (?:is |are )?(?:not\b|unsupp|unexp|unknown)",
    r"roles? must alternate",
    r"developer instruction is not enabled", r"only user(?:,| and) (?:assistant|model)",
    r"(?:not support|unsupported|unexpected|invalid|unknown)\b.{0,40}\brole\b.{0,20}\bsystem\b",
    r"\brole\b.{0,60}(?:not support|unsupported|unexpected|invalid|unknown)\b.{0,20}\bsystem\b",
    r"['\"`]system['\"`] is not",
)  # fmt: skip
_UNWANTED = _any_of(
    r"not? (?:\w+ )?(?:support|permit|allow|recogni[sz]|accept|a valid|valid|known|enabled|available)", r"n't support",
    r"\bun(?:supported|known|recogni[sz]ed|expected)", r"\bextra", r"\binvalid", r"deprecated", r"can(?:not|'t)",
    r"\b(?:must|should|only|range|maximum|minimum|between|exceeds?|at most|at least)\b",
    r"too (?:large|high|small|low)", r"(?:less|greater) than", r"[<>]", r"cannot find field",
)  # fmt: skip
_FIELD = re.compile(
    r"(?:['\"`\[{(:/.]\s*|\b(?:parameter|argument|field|property|name|key|option|supplied|of|support|for)s?\b[\s:(]*|^)"
    r"(?P<field>seed|temperature)\b"
    r"|\b(?P<plain>max_tokens|max_completion_tokens|top_p|topP|repetition_penalty)\b",
    re.IGNORECASE,
)
_STATUSES = {
    429: _any_of("rate[ _-]?limit", "too[ _]many", "resource_exhausted", "throttl"),
    401: _any_of("authenticat", "unauthorized"),
    403: _any_of("permission", "forbidden"),
    404: _any_of("not_found", "notfound"),
    400: _any_of("invalid_request", "bad_?request", "validation", "invalid_argument", "context_length"),
}
"""What an error object's codes stand for, where no status is among them."""


def _classify(status: int, words: ServerWords, retry_after_s: float | None, *, shown: str = "") -> Fault:
    """What the words say goes before what the status says."""
    said = f"{words.text} {' '.join(words.codes)}"
    kind, parameter, reason = _kind(status, words, said, retry_after_s)
    message = ": ".join(filter(None, (shown or str(status), words.text)))
    if retry_after_s is not None and retry_after_s > LONGEST_WAIT_S:
        message += f" (it asks to wait {retry_after_s / 3600:.1f} hours)"
    return Fault(kind, message, retry_after_s if kind in _WAITED_FOR else None, parameter, reason)


_WAITED_FOR = {FaultKind.BUSY, FaultKind.BROKEN}


def _kind(
    status: int, words: ServerWords, said: str, retry_after_s: float | None
) -> tuple[FaultKind, str | None, str | None]:
    """The kind, the parameter and the reason of an error; the first rule that fits."""
    rejects = 400 <= status < 500
    long_wait = retry_after_s is not None and retry_after_s > LONGEST_WAIT_S
    if status in {401, 402} or _NO_CREDIT.search(said):
        return FaultKind.ACCOUNT, None, None
    if rejects and _PERHAPS_NO_CREDIT.search(said) and (retry_after_s is None or long_wait):
        return FaultKind.ACCOUNT, None, None
    if status == 429 and _TOO_LARGE.search(said):
        return FaultKind.REJECTED, None, None
    if status in {429, 529} or (status in {400, 403, 503} and _TOO_MANY.search(said)):
        return FaultKind.ACCOUNT if long_wait else FaultKind.BUSY, None, None
    if _SPOILED.search(said):
        return FaultKind.SPOILED, None, "invalid_json"
    if rejects and _NO_ACCESS.search(said):
        return FaultKind.ACCOUNT, None, None
    if rejects and _FILTERED.search(said):
        return FaultKind.REJECTED, None, "content_filter"
    if _NO_SYSTEM.search(said) or (rejects and any(field.endswith("role") for field in words.fields)):
        return FaultKind.PARAMETER, SYSTEM_ROLE, None
    if rejects and _TOO_LONG.search(said):
        return FaultKind.REJECTED, None, None
    if status in _OF_THE_REQUEST:
        if _SCHEMA.search(said):
            return FaultKind.SCHEMA, None, None
        if _FORMAT.search(f"{said} {' '.join(words.fields)}"):
            return FaultKind.FORMAT, None, None
    if rejects and (field := _field(words, said)):
        return FaultKind.PARAMETER, field, None
    return _by_status(status), None, None


_OF_THE_REQUEST = {400, 404, 422, 500, 501}


def _field(words: ServerWords, said: str) -> str | None:
    """The field of the request that the server does not take."""
    if named := next((field for field in words.fields if field in _FIELDS), None):
        return named
    found = _FIELD.search(words.text)
    if found is None or not _UNWANTED.search(said):
        return None
    name = (found["field"] or found["plain"]).lower()
    return {"topp": "top_p"}.get(name, name)


def _by_status(status: int) -> FaultKind:
    if status == 403:
        return FaultKind.FORBIDDEN
    if 300 <= status < 400 or status in {404, 405, 410}:
        return FaultKind.ACCOUNT
    if 400 <= status < 500 and status not in {408, 409, 425, 498, 499}:
        return FaultKind.REJECTED
    return FaultKind.BROKEN


def _status_of(words: ServerWords) -> int:
    codes = " ".join(words.codes)
    if (status := next((status for status, pattern in _STATUSES.items() if pattern.search(codes)), None)) is not None:
        return status
    rules = {404: _NO_ACCESS, 429: _TOO_MANY, 400: _TOO_LONG}
    return next((status for status, pattern in rules.items() if pattern.search(words.text)), 500)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the Retry-After header (a number or a date: RFC 9110, section 10.2.3), or of its common variants."""
    if (value := _number(headers.get("retry-after-ms"))) is not None:
        return max(value / 1000, 0.0)
    text = headers.get("retry-after")
    if text is not None:
        value = _number(text)
        if value is None:
            try:
                value = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
            except ValueError:
                return None
        return max(value, 0.0)
    if (value := _number(headers.get("x-ratelimit-reset"))) is not None:
        # Seconds to wait, or a moment in seconds or milliseconds.
        moment = value / 1000 if value > 1e12 else value
        return max(moment - time.time(), 0.0) if moment > 1e9 else max(value, 0.0)
    return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None

"""What the Kubernetes API means by a refusal, in its own words: one wording for every caller."""

import json
import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from opencharacter.errors import OpenCharacterError, UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiException

_RIGHTS = re.compile(r'User "[^"]*" cannot \S+ (resource|path) ')
"""How the API server words a missing permission. Each other 403 comes from admission: a webhook, a policy, a quota."""
_UNDECLARED = "field not declared in schema"
"""How a server-side apply fails, with status 500, on a field that the installed version of an API doesn't know."""
_LONGEST_TEXT = 400


class Cause(Enum):
    """Why the API refuses a request."""

    LOGIN = auto()
    """401: it does not know the account."""
    RIGHTS = auto()
    """403 of the authorizer: the account needs a permission."""
    ADMISSION = auto()
    """403 of admission: a webhook, a policy, a quota or Pod Security refuses this object."""
    INVALID = auto()
    """400 and 422 (500 for an apply of unknown fields): the object does not fit its schema, or a webhook says so."""
    NO_NAMESPACE = auto()
    """404: the namespace does not exist."""
    NO_RESOURCE = auto()
    """404: the object does not exist, or the cluster does not have this API."""
    OTHER = auto()
    """Anything else: the server's trouble, or too many requests."""


def cause_of(error: "ApiException") -> Cause:
    """The cause behind an answer of the Kubernetes client."""
    if error.status == 401:
        return Cause.LOGIN
    if error.status == 403:
        status = status_of(error.body)
        return Cause.ADMISSION if status.get("message") and not _RIGHTS.search(words_of(error)) else Cause.RIGHTS
    if error.status in (400, 422) or _UNDECLARED in words_of(error):
        return Cause.INVALID
    if error.status == 404:
        kind = (status_of(error.body).get("details") or {}).get("kind")
        return Cause.NO_NAMESPACE if kind == "namespaces" else Cause.NO_RESOURCE
    return Cause.OTHER


def words_of(error: "ApiException") -> str:
    """What the server, or the webhook behind it, says: the message of its `Status`, else the text of its answer."""
    if message := status_of(error.body).get("message"):
        return str(message)
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    text = " ".join(body.split())
    return text if text and "<" not in text and len(text) <= _LONGEST_TEXT else str(error.reason)


def status_of(body: Any) -> dict[str, Any]:
    """The `Status` object of an answer's body, empty if it is none."""
    try:
        status = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def refused(
    error: "ApiException", doing: str, *, hints: Mapping[Cause, str] | None = None
) -> OpenCharacterError | UserError:
    """The error to raise for a refusal, with the server's own words in it.

    Args:
        error: the client's exception.
        doing: what was asked for, as a verb: `create trainjobs in namespace team`.
        hints: what to do, by cause.

    Returns:
        `UserError` where the account, the object or the cluster's set-up must change, else `OpenCharacterError`.
    """
    cause, words = cause_of(error), words_of(error)
    hint = (hints or {}).get(cause)
    match cause:
        case Cause.LOGIN:
            return UserError(f"the cluster does not accept the credentials ({doing}): {words}", hint=hint)
        case Cause.RIGHTS:
            return UserError(f"the cluster does not let this account {doing}: {words}", hint=hint)
        case Cause.ADMISSION | Cause.INVALID:
            return UserError(f"the cluster refuses to {doing}: {words}", hint=hint)
        case Cause.NO_NAMESPACE | Cause.NO_RESOURCE:
            return UserError(f"the cluster can't {doing}: {words}", hint=hint)
        case Cause.OTHER:
            return OpenCharacterError(f"the cluster's API answers {error.status} ({doing}): {words}", hint=hint)

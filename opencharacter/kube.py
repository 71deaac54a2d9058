"""The Kubernetes API: its client, retries, and error messages for refused requests."""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from opencharacter.errors import OpenCharacterError, UserError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient, ApiException

API_TIMEOUT_S = (5, 30)
"""Time-outs for connecting and for the answer; the client retries three times."""

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def in_pod() -> bool:
    """Whether this process runs in a pod of the cluster that `cluster_client` talks to."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _POD_NAMESPACE.is_file()


def cluster_namespace() -> str:
    """The default namespace in the cluster that `cluster_client` talks to.

    In a pod it is the pod's own; elsewhere that of the kubeconfig's current context, or `default`.
    """
    if in_pod():
        return _POD_NAMESPACE.read_text(encoding="utf-8").strip()
    from kubernetes import config

    try:
        _, current = config.list_kube_config_contexts()
        return str(current["context"].get("namespace") or "default")
    except Exception:  # an absent or invalid kubeconfig raises many types
        return "default"


@contextmanager
def cluster_client(purpose: str) -> Iterator["ApiClient"]:
    """A client of the cluster. In a pod it uses the service account, elsewhere the kubeconfig.

    Messages start with `purpose`. Raises `UserError` if no cluster is configured, `OpenCharacterError` if it cannot be
    reached. The caller explains refused requests (`kubernetes.client.ApiException`).
    """
    from kubernetes import client, config
    from urllib3.exceptions import HTTPError

    try:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
    except (config.ConfigException, OSError) as error:
        raise UserError(
            f"{purpose}: no cluster is configured: {error}", hint="set KUBECONFIG, or run in a pod of the cluster"
        ) from error
    try:
        with client.ApiClient() as api:
            yield api
    except HTTPError as error:
        raise OpenCharacterError(
            f"{purpose}: the cluster cannot be reached: {error}", hint="check the kubeconfig"
        ) from error


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
    """403 of the authorizer: the account lacks a permission."""
    ADMISSION = auto()
    """403 of admission: a webhook, a policy, a quota or Pod Security refuses this object."""
    INVALID = auto()
    """400 and 422 (500 for an apply of unknown fields): the object does not fit its schema, or a webhook says so."""
    NO_NAMESPACE = auto()
    """404: the namespace does not exist."""
    NO_RESOURCE = auto()
    """404: the object does not exist, or the cluster does not have this API."""
    OTHER = auto()
    """Anything else, such as a server error or too many requests."""


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
    """The message of the server or its webhook: that of the `Status`, else the text of the answer."""
    if message := status_of(error.body).get("message"):
        return str(message)
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    text = " ".join(body.split())
    return text if text and "<" not in text and len(text) <= _LONGEST_TEXT else str(error.reason)


def status_of(body: Any) -> dict[str, Any]:
    """The `Status` object in an answer's body, empty if there is none."""
    try:
        status = json.loads(body)
    except (TypeError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def refused(
    error: "ApiException", doing: str, *, hints: Mapping[Cause, str] | None = None
) -> OpenCharacterError | UserError:
    """The error to raise for a refused request, with the server's own message.

    Args:
        error: the client's exception.
        doing: the request, as a verb: `create trainjobs in namespace team`.
        hints: what to do, by cause.

    Returns:
        `UserError` if the account, the object or the cluster's set-up must change, else `OpenCharacterError`.
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


T = TypeVar("T")

_TRANSIENT = {0, 408, 429, 500, 502, 503, 504}


def patiently(
    call: Callable[[], T],
    *,
    doing: str,
    pause: Callable[[float], None],
    delays_s: Sequence[float],
    hint: str,
) -> T:
    """Call until the API answers, with these pauses after failed attempts.

    Args:
        call: the request.
        doing: the request, as a verb, for the message: `get pods in namespace team`.
        pause: waits for a number of seconds.
        delays_s: the pause after each failed attempt; one last attempt follows.
        hint: what to do when all attempts have failed.

    Raises:
        kubernetes.client.ApiException: the answer, unless it is a transient server error.
        OpenCharacterError: no attempt was answered.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    for delay in [*delays_s, None]:
        try:
            return call()
        except ApiException as error:
            if error.status not in _TRANSIENT or cause_of(error) is not Cause.OTHER:
                raise
            words, cause = f"{error.status}: {words_of(error)}", error
        except (HTTPError, OSError) as error:
            words, cause = str(error), error
        if delay is None:
            raise OpenCharacterError(f"the cluster's API can't be used ({doing}): {words}", hint=hint) from cause
        pause(delay)
    raise AssertionError("unreachable")

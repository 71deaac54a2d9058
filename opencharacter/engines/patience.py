"""Calls to the Kubernetes API that wait out its hiccups."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from opencharacter.engines.refusals import Cause, cause_of, words_of
from opencharacter.errors import OpenCharacterError

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
    """Call until there is an answer, with these pauses after attempts that fail.

    Args:
        call: the request.
        doing: what it asks for, for the message: `get pods in namespace team`.
        pause: waits so many seconds.
        delays_s: a pause after each attempt but one more at the end.
        hint: what to do when all attempts have failed.

    Raises:
        kubernetes.client.ApiException: the server's answer, if it is no trouble of the server's own.
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

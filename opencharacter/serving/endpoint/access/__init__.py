"""Who may call, and how much."""

import os
from collections.abc import Mapping
from typing import Protocol

from opencharacter.errors import UserError
from opencharacter.serving.endpoint.access.key_access import KeyAccess
from opencharacter.serving.endpoint.access.key_file import KeyFile
from opencharacter.serving.endpoint.access.keys import Limits, add_key, new_key, read_keys
from opencharacter.serving.endpoint.access.memory_counters import MemoryCounters
from opencharacter.serving.endpoint.access.queue import RequestQueue
from opencharacter.serving.endpoint.access.quotas import Counters
from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.settings import EndpointSettings

__all__ = ["Access", "Permit", "add_key", "check_access", "make_access", "new_key"]

REDIS_URL = "OPENCHARACTER_REDIS_URL"
"""The environment variable; an address may hold a password, so it is no argument."""


class Permit(Protocol):
    """One admitted request."""

    @property
    def key_id(self) -> str | None:
        """The name of the caller's key, for logs and metrics."""

    @property
    def strict(self) -> bool | None:
        """Whether the key asks for the strict reading of requests; None: as the endpoint is set."""

    async def spend(self, call: Call) -> None:
        """Reserve what the call may cost at most. Raises `ApiError` (429)."""

    async def settle(self, prompt_tokens: int, completion_tokens: int, *, cut: bool = False) -> None:
        """Book what it cost; called once for each request.

        After a cut the tokens are those that are known: none of the prompt, where the usage had not come yet.
        """

    def headers(self) -> dict[str, str]:
        """What is left of the caller's quotas, for the answer."""


class Access(Protocol):
    """Decides on each request before its body is read."""

    async def admit(self, headers: Mapping[str, str], client: str) -> Permit:
        """Let a request in. Header names are in lower case.

        Raises:
            ApiError: 401, 403, or 429 with `Retry-After`.
        """

    async def close(self) -> None:
        """End background work and connections."""


def check_access(settings: EndpointSettings) -> None:
    """Raise `UserError` for settings, or a keys file, that cannot be used."""
    if settings.max_in_flight < 1:
        raise UserError("--max_in_flight must be at least 1")
    defaults = _defaults(settings)
    if settings.api_keys_file is not None:
        read_keys(settings.api_keys_file, defaults)
    elif defaults != Limits():
        raise UserError("limits of keys are set, but there are no keys", hint="--api_keys_file names their file")


def make_access(settings: EndpointSettings) -> Access:
    """The access rules that the settings describe; called inside the running event loop. Raises like `check_access`."""
    check_access(settings)
    keys = KeyFile(settings.api_keys_file, _defaults(settings)) if settings.api_keys_file is not None else None
    queue = RequestQueue(settings.max_in_flight, settings.max_queued, settings.queue_timeout_s)
    return KeyAccess(keys, _counters(settings), queue)


def _defaults(settings: EndpointSettings) -> Limits:
    limits = {
        "requests_per_minute": settings.requests_per_minute,
        "tokens_per_minute": settings.tokens_per_minute,
        "tokens_per_day": settings.tokens_per_day,
        "max_in_flight": settings.key_max_in_flight,
    }
    if wrong := [name for name, value in limits.items() if value is not None and value < 1]:
        raise UserError(f"the limit {wrong[0]} of keys must be at least 1, or left out")
    return Limits(**limits)


def _counters(settings: EndpointSettings) -> Counters:
    url = os.environ.get(REDIS_URL)
    if not url:
        return MemoryCounters()
    from opencharacter.serving.endpoint.access.redis_counters import RedisCounters

    return RedisCounters(url, failure=settings.redis_failure)

"""Who may call, and how much."""

from collections.abc import Mapping
from typing import Protocol

from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.settings import EndpointSettings


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

    async def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Book what it cost; called once for each request, also after a cut."""


class Access(Protocol):
    """Decides on each request before its body is read."""

    async def admit(self, headers: Mapping[str, str], client: str) -> Permit:
        """Let a request in. Header names are in lower case.

        Raises:
            ApiError: 401, 403, or 429 with `Retry-After`.
        """

    async def close(self) -> None:
        """End background work and connections."""


class OpenPermit:
    """A request that nobody counts."""

    key_id: str | None = None
    strict: bool | None = None

    async def spend(self, call: Call) -> None:
        """Nothing is reserved."""

    async def settle(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Nothing is booked."""


class OpenAccess:
    """Lets everybody in."""

    _permit = OpenPermit()

    async def admit(self, headers: Mapping[str, str], client: str) -> Permit:
        """Every request is let in."""
        return self._permit

    async def close(self) -> None:
        """There is nothing to end."""


def make_access(settings: EndpointSettings) -> Access:
    """The access rules that the settings describe; called inside the running event loop."""
    return OpenAccess()

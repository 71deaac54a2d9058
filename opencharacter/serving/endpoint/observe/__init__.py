"""What operators see of each request: metrics, traces and a log line."""

from collections.abc import Mapping
from typing import Protocol

from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.settings import EndpointSettings


class Request(Protocol):
    """One request of an OpenAI route, from its head to its end."""

    def called(self, call: Call, key_id: str | None) -> None:
        """It was checked and goes to the model server."""

    def upstream_headers(self) -> dict[str, str]:
        """Headers for the model server, such as `traceparent`."""

    def first_byte(self) -> None:
        """The first byte of the answer's body left."""

    def end(self, status: int, reason: str, prompt_tokens: int, completion_tokens: int) -> None:
        """It is over; `reason` is `ok`, or the code of the error that ended it, or `client_left`."""


class Observer(Protocol):
    """Sees every request of an OpenAI route."""

    def begin(self, route: str, request_id: str, headers: Mapping[str, str]) -> Request:
        """A request's head has arrived. Header names are in lower case."""

    async def close(self) -> None:
        """Send what is left, and end."""


class SilentRequest:
    """A request that leaves no trace."""

    def called(self, call: Call, key_id: str | None) -> None:
        """Nothing is recorded."""

    def upstream_headers(self) -> dict[str, str]:
        """No headers."""
        return {}

    def first_byte(self) -> None:
        """Nothing is recorded."""

    def end(self, status: int, reason: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Nothing is recorded."""


class SilentObserver:
    """Records nothing."""

    _request = SilentRequest()

    def begin(self, route: str, request_id: str, headers: Mapping[str, str]) -> Request:
        """Nothing is recorded."""
        return self._request

    async def close(self) -> None:
        """There is nothing to send."""


def make_observer(settings: EndpointSettings) -> Observer:
    """The observer that the settings describe; called inside the running event loop."""
    return SilentObserver()

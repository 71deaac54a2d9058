"""What operators see of each request: metrics, traces and a log line."""

from collections.abc import Mapping
from typing import Protocol

from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.observe.metrics import default_metrics
from opencharacter.serving.endpoint.observe.observer import RequestObserver
from opencharacter.serving.endpoint.observe.tracing import Tracing
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


def make_observer(settings: EndpointSettings) -> Observer:
    """The observer that the settings describe; called inside the running event loop. Raises `UserError`."""
    return RequestObserver(default_metrics(), Tracing(), log_texts=settings.log_request_text)

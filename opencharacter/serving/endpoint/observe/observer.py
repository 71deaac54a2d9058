"""Records each request when it ends: metrics, its span, and its line in the log. Nothing is done for a token."""

import asyncio
import time
from collections.abc import Callable, Mapping

from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.observe.metrics import PROVIDER, Metrics
from opencharacter.serving.endpoint.observe.request_log import RequestLog, excerpt
from opencharacter.serving.endpoint.observe.tracing import Trace, Tracing

OK, _CLIENT_LEFT = "ok", "client_left"

_OPERATIONS = {"/v1/chat/completions": "chat"}
"""What the conventions call a path of the model server; others generate nothing."""


class RequestObserver:
    """Observes the requests of one process."""

    def __init__(
        self,
        metrics: Metrics,
        tracing: Tracing,
        *,
        log_texts: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.metrics, self.tracing, self.log_texts, self.clock = metrics, tracing, log_texts, clock
        self.log = RequestLog()
        self._models: set[str] = set()
        """Those that have answered. A request may name any, and each would be a series of its own in the metrics."""

    def begin(self, route: str, request_id: str, headers: Mapping[str, str]) -> "ObservedRequest":
        """See `Observer`."""
        return ObservedRequest(self, route, request_id, self.tracing.begin(route, headers))

    def model_label(self, model: str, status: int) -> str:
        """The model as metrics name it; empty for one that may not exist."""
        if status < 400:
            self._models.add(model)
        return model if model in self._models else ""

    async def close(self) -> None:
        """See `Observer`."""
        await self.tracing.close()
        await asyncio.to_thread(self.log.close)


class ObservedRequest:
    """One request."""

    def __init__(self, observer: RequestObserver, route: str, request_id: str, trace: Trace) -> None:
        self._observer, self._route, self._id, self._trace = observer, route, request_id, trace
        self._began = observer.clock()
        self._first_byte_s: float | None = None
        self._call: Call | None = None
        self._key_id: str | None = None
        observer.metrics.in_flight.inc()

    def called(self, call: Call, key_id: str | None) -> None:
        """See `Request`."""
        self._call, self._key_id = call, key_id

    def upstream_headers(self) -> dict[str, str]:
        """See `Request`."""
        return self._trace.headers

    def first_byte(self) -> None:
        """See `Request`."""
        if self._first_byte_s is None:
            self._first_byte_s = self._observer.clock() - self._began

    def end(self, status: int, reason: str, prompt_tokens: int, completion_tokens: int) -> None:
        """See `Request`."""
        duration_s = self._observer.clock() - self._began
        metrics, call = self._observer.metrics, self._call
        metrics.in_flight.dec()
        metrics.ended(self._route, status, reason)
        error = "" if reason == OK else reason
        failed = error and error != _CLIENT_LEFT and (status >= 500 or status < 400)
        operation = _OPERATIONS.get(call.path) if call else None
        first_token_s = self._first_byte_s if call and call.stream else None
        if call and operation:
            metrics.generated(
                operation,
                self._observer.model_label(call.model, status),
                error,
                duration_s=duration_s,
                first_token_s=first_token_s,
                tokens=(prompt_tokens, completion_tokens),
                key_id=self._key_id,
            )
        self._trace.end(
            f"{operation} {call.model}" if call and operation else self._route,
            {
                "gen_ai.operation.name": operation,
                "gen_ai.provider.name": PROVIDER if call else None,
                "gen_ai.request.model": call.model if call else None,
                "gen_ai.request.stream": call.stream if call else None,
                "gen_ai.request.max_tokens": call.max_tokens if call else None,
                "gen_ai.usage.input_tokens": prompt_tokens if call else None,
                "gen_ai.usage.output_tokens": completion_tokens if call else None,
                "gen_ai.response.time_to_first_chunk": first_token_s,
                "http.route": self._route,
                "http.response.status_code": status,
                "error.type": error or None,
                "opencharacter.request.id": self._id,
                "opencharacter.character.id": call.character_id if call else None,
                "opencharacter.key.id": self._key_id,
            },
            error if failed else None,
        )
        self._observer.log.add(
            {
                "event": "request",
                "id": self._id,
                "route": self._route,
                "status": status,
                "reason": reason,
                "model": call.model if call else None,
                "character": call.character_id if call else None,
                "key": self._key_id,
                "stream": call.stream if call else None,
                "prompt_tokens": prompt_tokens if call else None,
                "completion_tokens": completion_tokens if call else None,
                "ttft_ms": None if first_token_s is None else round(first_token_s * 1000, 1),
                "duration_ms": round(duration_s * 1000, 1),
                "dropped": list(call.dropped) if call and call.dropped else None,
                "trace_id": self._trace.trace_id,
                "request": excerpt(call.body) if call and self._observer.log_texts else None,
            }
        )

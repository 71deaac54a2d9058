"""Traces: the caller's W3C trace context is passed on, and spans are exported by OTLP where that is configured.

OpenTelemetry's own variables configure it: `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` turns
the export on (protocol http/protobuf); its SDK reads `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER` and the others.
"""

import asyncio
import os
import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from opencharacter.errors import UserError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_SERVICE_NAME = "opencharacter"
_PARENT, _STATE = "traceparent", "tracestate"
_PARENT_PARTS = (2, 32, 16, 2)
_LONGEST_STATE = 512
_HEX = frozenset(string.hexdigits.lower())


class Trace(Protocol):
    """One request's part of a trace."""

    trace_id: str | None
    headers: dict[str, str]
    """The context for the model server."""

    def end(self, name: str, attributes: Mapping[str, Any], error: str | None) -> None:
        """The request is over."""


class PassedTrace:
    """The caller's context as it is."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = trace_context(headers)
        self.trace_id = self.headers[_PARENT].split("-")[1] if self.headers else None

    def end(self, name: str, attributes: Mapping[str, Any], error: str | None) -> None:
        """Nothing is exported."""


class SpanTrace:
    """A span of the transformer, the parent of the model server's."""

    def __init__(self, tracer: "Tracer", route: str, headers: Mapping[str, str]) -> None:
        from opentelemetry.trace import SpanKind

        self._span: Span = tracer.start_span(route, context=_parent(trace_context(headers)), kind=SpanKind.SERVER)
        context = self._span.get_span_context()
        self.trace_id: str | None = f"{context.trace_id:032x}"
        self.headers = {_PARENT: f"00-{self.trace_id}-{context.span_id:016x}-{int(context.trace_flags):02x}"}
        if state := context.trace_state.to_header():
            self.headers[_STATE] = state

    def end(self, name: str, attributes: Mapping[str, Any], error: str | None) -> None:
        """The span ends."""
        from opentelemetry.trace import StatusCode

        if self._span.is_recording():
            self._span.update_name(name)
            self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})
            if error:
                self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


class Tracing:
    """Begins traces."""

    def __init__(self) -> None:
        self._provider = _provider() if any(os.environ.get(name) for name in _ENDPOINTS) else None
        self._tracer = self._provider.get_tracer(_SERVICE_NAME) if self._provider else None

    def begin(self, route: str, headers: Mapping[str, str]) -> Trace:
        """The trace of a request; header names are in lower case."""
        return SpanTrace(self._tracer, route, headers) if self._tracer else PassedTrace(headers)

    async def close(self) -> None:
        """Send the spans that are left."""
        if self._provider:
            await asyncio.to_thread(self._provider.shutdown)


def trace_context(headers: Mapping[str, str]) -> dict[str, str]:
    """The W3C trace context of a request, without one that is malformed."""
    parent = headers.get(_PARENT)
    if parent is None or not _is_parent(parent):
        return {}
    state = headers.get(_STATE, "")
    usable = 0 < len(state) <= _LONGEST_STATE and state.isascii() and state.isprintable()
    return {_PARENT: parent, _STATE: state} if usable else {_PARENT: parent}


def _is_parent(text: str) -> bool:
    parts = text.split("-")
    if tuple(map(len, parts)) != _PARENT_PARTS or not _HEX.issuperset("".join(parts)):
        return False
    return parts[0] != "ff" and set(parts[1]) != {"0"} and set(parts[2]) != {"0"}


def _parent(headers: Mapping[str, str]) -> "Context":
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(headers)


def _provider() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise UserError(
            f"{' or '.join(_ENDPOINTS)} is set, but OpenTelemetry is not installed: {error}",
            hint="pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http",
        ) from error
    name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE_NAME}
    provider = TracerProvider(resource=Resource.create(name))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider

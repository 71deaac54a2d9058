"""What operators see of a request: metrics, a span, a line in the log."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from prometheus_client import CollectorRegistry

from opencharacter.serving.endpoint.call import Call
from opencharacter.serving.endpoint.observe.metrics import Metrics
from opencharacter.serving.endpoint.observe.observer import RequestObserver
from opencharacter.serving.endpoint.observe.tracing import Tracing, trace_context

ROUTE = "/v1/chat/completions"
CALL = Call(
    path="/v1/chat/completions",
    body=b'{"messages": "a secret"}',
    stream=True,
    model="bard",
    character_id="ilse",
    dropped=("user", "store"),
    max_tokens=50,
)
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Seen:
    """An observer of a registry of its own."""

    def __init__(self, **options: bool) -> None:
        self.registry, self.clock = CollectorRegistry(), Clock()
        self.observer = RequestObserver(Metrics(self.registry), Tracing(), clock=self.clock, **options)

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture(autouse=True)
def _no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def answer(seen: Seen, call: Call = CALL, status: int = 200, reason: str = "ok", **headers: str) -> None:
    """A stream of 11 tokens: the first after 0.3 s, the last a second later."""
    request = seen.observer.begin(ROUTE, "req-1", headers)
    request.called(call, "web")
    seen.clock.now += 0.3
    request.first_byte()
    seen.clock.now += 0.5
    request.first_byte()  # only the first one counts
    seen.clock.now += 0.5
    request.end(status, reason, 200, 11)


OPERATION = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "vllm", "gen_ai_request_model": "bard"}


def test_metrics_have_opentelemetrys_names_and_buckets() -> None:
    seen = Seen()
    answer(seen)
    for name in (
        gen_ai_metrics.GEN_AI_SERVER_REQUEST_DURATION,
        gen_ai_metrics.GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,
        gen_ai_metrics.GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN,
    ):
        family = name.replace(".", "_") + "_seconds"
        labels = OPERATION | ({"error_type": ""} if name.endswith("duration") else {})
        assert seen.value(f"{family}_count", **labels) == 1, family
    duration = gen_ai_metrics.GEN_AI_SERVER_REQUEST_DURATION.replace(".", "_") + "_seconds"
    assert seen.value(f"{duration}_sum", **OPERATION, error_type="") == pytest.approx(1.3)
    assert seen.value(f"{duration}_bucket", **OPERATION, error_type="", le="1.28") == 0
    assert seen.value("gen_ai_server_time_to_first_token_seconds_sum", **OPERATION) == pytest.approx(0.3)
    assert seen.value("gen_ai_server_time_per_output_token_seconds_sum", **OPERATION) == pytest.approx(0.1)
    usage = gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE.replace(".", "_")
    assert seen.value(f"{usage}_sum", **OPERATION, gen_ai_token_type="input") == 200
    assert seen.value(f"{usage}_sum", **OPERATION, gen_ai_token_type="output") == 11


def test_errors_cuts_and_keys_are_counted_apart() -> None:
    seen = Seen()
    answer(seen)
    answer(seen, reason="stream_interrupted")
    refused = seen.observer.begin(ROUTE, "req-2", {})
    assert seen.value("opencharacter_requests_in_flight") == 1
    refused.end(401, "invalid_api_key", 0, 0)
    assert seen.value("opencharacter_requests_in_flight") == 0
    for status, reason in (("200", "ok"), ("200", "stream_interrupted"), ("401", "invalid_api_key")):
        assert seen.value("opencharacter_requests_total", route=ROUTE, status=status, reason=reason) == 1
    cut = OPERATION | {"error_type": "stream_interrupted"}
    assert seen.value("gen_ai_server_request_duration_seconds_count", **cut) == 1
    assert seen.value("opencharacter_key_tokens_total", key="web", gen_ai_token_type="output") == 22


def test_names_of_models_that_do_not_exist_make_no_series() -> None:
    seen = Seen()
    for number in range(50):
        answer(seen, replace(CALL, model=f"guess-{number}"), 404, "predictor_error")
        answer(seen, replace(CALL, model=f"guess-{number}"), 499, "client_left")
    answer(seen)
    answer(seen, CALL, 499, "client_left")
    models = {
        sample.labels["gen_ai_request_model"]
        for family in seen.registry.collect()
        for sample in family.samples
        if "gen_ai_request_model" in sample.labels
    }
    assert models == {"", "bard"}
    left = OPERATION | {"error_type": "client_left"}
    assert seen.value("gen_ai_server_request_duration_seconds_count", **left) == 1


def test_an_answer_that_is_not_streamed_has_no_first_token() -> None:
    seen = Seen()
    answer(seen, Call(path="/v1/chat/completions", body=b"", stream=False, model="bard"))
    assert seen.value("gen_ai_server_time_to_first_token_seconds_count", **OPERATION) == 0


def lines(seen: Seen, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    asyncio.run(seen.observer.close())
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_request_is_one_line_of_json_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    answer(seen, traceparent=PARENT)
    refused = seen.observer.begin(ROUTE, "req-\n2", {})
    refused.end(429, "rate_limit_exceeded", 0, 0)
    first, second = lines(seen, capsys)
    assert first.pop("time")
    assert first == {
        "event": "request",
        "id": "req-1",
        "route": ROUTE,
        "status": 200,
        "reason": "ok",
        "model": "bard",
        "character": "ilse",
        "key": "web",
        "stream": True,
        "prompt_tokens": 200,
        "completion_tokens": 11,
        "ttft_ms": 300.0,
        "duration_ms": 1300.0,
        "dropped": ["user", "store"],
        "trace_id": TRACE_ID,
    }
    assert (second["id"], second["reason"], "model" in second) == ("req-\n2", "rate_limit_exceeded", False)


def test_a_log_that_nobody_takes_stalls_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    full = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", full)
    seen = Seen(log_texts=True)
    long = replace(CALL, body=b"x" * 10_000)
    for _ in range(20):  # a pipe holds 64 KiB
        answer(seen, long)
    assert seen.value("opencharacter_requests_total", route=ROUTE, status="200", reason="ok") == 20
    with os.fdopen(reader) as taken:
        assert [json.loads(taken.readline())["request"] for _ in range(20)] == ["x" * 10_000] * 20
    asyncio.run(seen.observer.close())
    full.close()


def test_the_text_of_a_request_is_logged_where_that_is_switched_on(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen(log_texts=True)
    answer(seen)
    answer(seen, Call(path="/v1/chat/completions", body=b"\xff" + b"x" * 100_000, stream=True, model="bard"))
    short, long = lines(seen, capsys)
    assert short["request"] == '{"messages": "a secret"}'
    assert len(str(long["request"])) <= 16 << 10


def test_the_callers_trace_goes_on_to_the_model_server() -> None:
    seen = Seen()
    request = seen.observer.begin(ROUTE, "req-1", {"traceparent": PARENT, "tracestate": "vendor=1"})
    assert request.upstream_headers() == {"traceparent": PARENT, "tracestate": "vendor=1"}


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT[:-1],
        PARENT.replace("4b", "zz"),
        PARENT.upper(),
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01-more",
        f"00-{TRACE_ID}-{SPAN_ID}-01\r\nX-Evil: 1",
    ],
)
def test_a_malformed_trace_context_is_left_out(parent: str) -> None:
    assert trace_context({"traceparent": parent, "tracestate": "vendor=1"}) == {}


def test_a_trace_state_that_is_too_long_or_no_text_is_left_out() -> None:
    for state in ("x" * 513, "a=\x00", "a=é"):
        assert trace_context({"traceparent": PARENT, "tracestate": state}) == {"traceparent": PARENT}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ExportTraceServiceRequest]]:
    """Takes spans by OTLP, as OpenTelemetry's variables tell every program."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{server.server_port}/v1/traces")
    yield received
    server.shutdown()
    server.server_close()


async def test_spans_are_exported_between_the_callers_and_the_model_servers(
    collector: list[ExportTraceServiceRequest],
) -> None:
    seen = Seen()
    request = seen.observer.begin(ROUTE, "req-1", {"traceparent": PARENT, "tracestate": "vendor=1"})
    request.called(CALL, "web")
    passed = request.upstream_headers()
    request.end(200, "stream_interrupted", 200, 11)
    left = seen.observer.begin(ROUTE, "req-2", {})
    left.end(422, "invalid_value", 0, 0)
    await seen.observer.close()
    span, refused = [span for batch in collector for span in batch.resource_spans[0].scope_spans[0].spans]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE_ID, SPAN_ID)
    assert passed == {"traceparent": f"00-{TRACE_ID}-{span.span_id.hex()}-01", "tracestate": "vendor=1"}
    told = {each.key: each.value for each in span.attributes}
    assert (span.name, told["gen_ai.request.model"].string_value) == ("chat bard", "bard")
    assert told["gen_ai.usage.output_tokens"].int_value == 11
    assert told["error.type"].string_value == "stream_interrupted"
    assert "secret" not in str(span)
    assert (span.status.code, refused.status.code) == (2, 0), "a caller's own mistake is no error of the server"
    names = {each.key: each.value.string_value for each in collector[0].resource_spans[0].resource.attributes}
    assert names["service.name"] == "opencharacter"

"""Prometheus metrics: OpenTelemetry's for generative AI in their Prometheus form, and a few of our own.

vLLM's own metrics are those of the engine; KServe's server shows both.
"""

from functools import cache
from typing import NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

# The boundaries that the conventions advise.
_DURATION_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_OUTPUT_TOKEN_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(4**power for power in range(11))

_OPERATION = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

PROVIDER = "vllm"


class _Of(NamedTuple):
    """The series of one operation, model and error."""

    duration: Histogram
    first_token: Histogram
    output_token: Histogram
    input_tokens: Histogram
    output_tokens: Histogram


class Metrics:
    """All of them, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "Generation requests: from the head of the request to the end of the answer",
            (*_OPERATION, "error_type"),
            buckets=_DURATION_S,
            registry=registry,
        )
        self.first_token = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            "Streams: from the head of the request to the first byte of the answer",
            _OPERATION,
            buckets=_FIRST_TOKEN_S,
            registry=registry,
        )
        self.output_token = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            "Streams: mean time of a token after the first one",
            _OPERATION,
            buckets=_OUTPUT_TOKEN_S,
            registry=registry,
        )
        self.tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of a request",
            (*_OPERATION, "gen_ai_token_type"),
            buckets=_TOKENS,
            registry=registry,
        )
        self.requests = Counter(
            "opencharacter_requests",
            "Requests of OpenAI routes, by how they ended",
            ("route", "status", "reason"),
            registry=registry,
        )
        self.key_tokens = Counter(
            "opencharacter_key_tokens", "Tokens by API key", ("key", "gen_ai_token_type"), registry=registry
        )
        self.in_flight = Gauge(
            "opencharacter_requests_in_flight",
            "Requests under way, those that wait included",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._of: dict[tuple[str, str, str], _Of] = {}
        self._ended: dict[tuple[str, int, str], Counter] = {}
        self._of_key: dict[str, tuple[Counter, Counter]] = {}

    def ended(self, route: str, status: int, reason: str) -> None:
        """Count a request that is over."""
        key = (route, status, reason)
        counter = self._ended.get(key)
        if counter is None:
            counter = self._ended[key] = self.requests.labels(route, str(status), reason)
        counter.inc()

    def generated(
        self,
        operation: str,
        model: str,
        error: str,
        *,
        duration_s: float,
        first_token_s: float | None,
        tokens: tuple[int, int],
        key_id: str | None,
    ) -> None:
        """Record a call of the model server; `error` is empty for one that went well."""
        key = (operation, model, error)
        of = self._of.get(key)
        if of is None:
            of = self._of[key] = self._series(*key)
        of.duration.observe(duration_s)
        prompt, completion = tokens
        if prompt or completion:
            of.input_tokens.observe(prompt)
            of.output_tokens.observe(completion)
            if key_id:
                self._count_tokens(key_id, prompt, completion)
        if first_token_s is not None:
            of.first_token.observe(first_token_s)
            if completion > 1:
                of.output_token.observe((duration_s - first_token_s) / (completion - 1))

    def _series(self, operation: str, model: str, error: str) -> _Of:
        common = (operation, PROVIDER, model)
        return _Of(
            self.duration.labels(*common, error),
            self.first_token.labels(*common),
            self.output_token.labels(*common),
            self.tokens.labels(*common, "input"),
            self.tokens.labels(*common, "output"),
        )

    def _count_tokens(self, key_id: str, prompt: int, completion: int) -> None:
        counters = self._of_key.get(key_id)
        if counters is None:
            counters = (self.key_tokens.labels(key_id, "input"), self.key_tokens.labels(key_id, "output"))
            self._of_key[key_id] = counters
        counters[0].inc(prompt)
        counters[1].inc(completion)


@cache
def default_metrics() -> Metrics:
    """Those that KServe's server shows."""
    return Metrics(REGISTRY)

"""The promoter's figures for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

_PREFIX = "opencharacter_promoter"


class Metrics:
    """One set of figures; `model` and `service` name the watched model and its InferenceService."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        names = ("model", "service")
        self.rollouts = Counter(
            f"{_PREFIX}_rollouts",
            "Versions by outcome: served, failed, refused",
            (*names, "outcome"),
            registry=registry,
        )
        self.desired_version = Gauge(
            f"{_PREFIX}_desired_version", "Version that the alias points at; 0: no alias", names, registry=registry
        )
        self.served_version = Gauge(
            f"{_PREFIX}_served_version", "Version that the InferenceService serves; 0: none", names, registry=registry
        )
        self.last_reconcile = Gauge(
            f"{_PREFIX}_last_reconcile_timestamp_seconds", "End of the last look that worked", names, registry=registry
        )
        self.failures = Counter(
            f"{_PREFIX}_failures",
            "Looks that failed, by what: registry, cluster, bug",
            (*names, "what"),
            registry=registry,
        )
        self.leader = Gauge(f"{_PREFIX}_leader", "1: this process holds the lease", registry=registry)
        self.deliveries = Counter(
            f"{_PREFIX}_webhook_deliveries", "Deliveries: accepted, ignored, refused", ("outcome",), registry=registry
        )
        self.webhook_registered = Gauge(
            f"{_PREFIX}_webhook_registered", "1: MLflow has this process's webhook", registry=registry
        )

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self._registry)

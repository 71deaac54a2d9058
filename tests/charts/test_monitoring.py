"""What Prometheus and Grafana are given asks for metrics, labels and reasons that the servers have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import vllm
from prometheus_client import CollectorRegistry
from support.helm import CHART, NAMESPACE, one

from opencharacter.promoter.metrics import Metrics as PromoterMetrics
from opencharacter.serving.endpoint.observe.metrics import Metrics

PRODUCTION = "values-production.yaml"
SCRAPED = {"namespace", "pod", "container", "endpoint", "serving_kserve_io_inferenceservice", "le"}
"""Labels that Prometheus's own operator, or a histogram, adds."""


def expressions() -> Iterator[str]:
    board = json.loads(one("ConfigMap", "opencharacter-dashboard", PRODUCTION)["data"]["opencharacter.json"])
    yield from (target["expr"] for panel in board["panels"] for target in panel["targets"])
    (group,) = one("PrometheusRule", "opencharacter-server", PRODUCTION)["spec"]["groups"]
    yield from (rule["expr"] for rule in group["rules"])


def offered() -> dict[str, set[str] | None]:
    """Series of the endpoint, the promoter and vLLM; the labels of the endpoint's."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.ended("/v1/chat/completions", 200, "ok")
    metrics.generated("chat", "m", "", duration_s=1, first_token_s=0.5, tokens=(2, 3), key_id="web")
    series: dict[str, set[str] | None] = {"process_resident_memory_bytes": None}
    for family in registry.collect():
        for sample in family.samples:
            series[sample.name] = {*(series.get(sample.name) or ()), *sample.labels}
    for name in re.findall(r"^# HELP (\w+)", PromoterMetrics().text().decode(), re.MULTILINE):
        series[name] = None
    source = (Path(vllm.__file__).parent / "v1/metrics/loggers.py").read_text()
    for name in re.findall(r'name="(vllm:\w+)"', source):
        series |= dict.fromkeys((name, f"{name}_total", f"{name}_bucket"))
    return series


NAME = r"(?:vllm:|process_|opencharacter_|gen_ai_server_|gen_ai_client_)\w+"


def test_dashboard_and_alerts_ask_for_metrics_and_labels_that_exist() -> None:
    known, asked = offered(), 0
    for expression in expressions():
        by = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
        for name, selector in re.findall(rf"({NAME})\{{([^}}]*)\}}", expression):
            asked += 1
            assert name in known, expression
            labels = known[name]
            if labels is not None:
                used = {*re.findall(r'(\w+)(?:=~|!~|!=|=)"', selector), *by}
                assert used <= labels | SCRAPED, expression
        assert re.search(NAME, expression), expression
    assert asked >= 20


def test_the_dashboard_is_found_by_grafanas_sidecar() -> None:
    made = one("ConfigMap", "opencharacter-dashboard", PRODUCTION)
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    board = json.loads(made["data"]["opencharacter.json"])
    assert board == json.loads((CHART / "files/dashboard.json").read_text())
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(set(places)) == len(places)


def test_alerts_are_of_the_own_namespace_and_found_by_the_operator() -> None:
    made = one("PrometheusRule", "opencharacter-server", PRODUCTION, "monitoring.rules.firstTokenSeconds=2.5")
    assert made["metadata"]["labels"]["release"] == "prometheus"
    rules = {rule["alert"]: rule for rule in made["spec"]["groups"][0]["rules"]}
    for rule in rules.values():
        assert f'namespace="{NAMESPACE}"' in rule["expr"]
        assert rule["annotations"]["summary"].startswith("{{ $labels.")
    assert rules["OpenCharacterSlowFirstToken"]["expr"].endswith("> 2.5")


@pytest.mark.parametrize(
    ("status", "reason", "bad"),
    [
        (200, "ok", False),
        (200, "stream_interrupted", True),
        (502, "predictor_error", True),
        (503, "predictor_unavailable", True),
        (500, "internal_error", True),
        (400, "predictor_error", False),
        (422, "invalid_value", False),
        (429, "overloaded", False),
        (499, "client_left", False),
        (503, "shutdown", False),
        (200, "shutdown", False),
    ],
)
def test_only_the_servers_own_failures_raise_an_alarm(status: int, reason: str, bad: bool) -> None:
    (group,) = one("PrometheusRule", "opencharacter-server", PRODUCTION)["spec"]["groups"]
    expression = group["rules"][0]["expr"]
    wanted, unwanted = re.search(r'status=~"([^"]+)",reason!~"([^"]+)"', expression).groups()  # type: ignore[union-attr]
    counted = bool(re.fullmatch(wanted, str(status))) and not re.fullmatch(unwanted, reason)
    assert counted is bad

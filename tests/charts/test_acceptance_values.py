"""The values that the acceptance suite (tests/cluster) installs the chart with fit the chart."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.acceptance.kube import Kube
from support.acceptance.ledger import Ledger
from support.acceptance.recipe import run_settings
from support.acceptance.releases import Release, chart_values, production_values, promoter_values
from support.acceptance.serving import Service
from support.acceptance.settings import PREFIX, Settings
from support.acceptance.suite import CHART, Suite
from support.acceptance.waiting import Deadline

from opencharacter.promoter.promoter_config import PromoterConfig


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A session that has not begun."""
    from kubernetes import client

    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example.com:8333")
    images = tmp_path / "images.yaml"
    digests = dict.fromkeys(("synthesis", "training", "tools", "serving"), "sha256:" + "a" * 64)
    images.write_text(yaml.safe_dump({"images": {"registry": "r.example.com/oc", "tag": "0.1.0", "digests": digests}}))
    named = {"NAMESPACE": "kubeflow", "IMAGES": str(images), "WORKSPACE": "s3://bucket/runs"}
    settings = Settings.from_environment({PREFIX + name: value for name, value in named.items()})
    kube = Kube(client.ApiClient(client.Configuration(host="http://127.0.0.1:9")))
    return Suite(settings, kube, Ledger(kube, "oct-1a2b3c"), Deadline(1), tmp_path, "oct-1a2b3c")


@pytest.fixture
def service(suite: Suite) -> Service:
    release = Release("oct-1a2b3c", "kubeflow", "http://127.0.0.1:9", "oct-1a2b3c-s3", "opencharacter-serving", True)
    named = run_settings("s3://bucket/model", name=suite.id, service=suite.id)
    return Service(suite, release, [*named, f"deploy.service_account={release.account}"])


def render(suite: Suite, base: str, values: dict[str, Any]) -> str:
    file = suite.write("values.yaml", values)
    command = ["helm", "template", "x", str(CHART), "--values", str(CHART / base), "--values", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_trial_uses_our_images_and_store(suite: Suite) -> None:
    text = render(suite, "values-trial.yaml", chart_values(suite, secret="opencharacter-s3"))
    assert "image: r.example.com/oc/synthesis@sha256:" in text
    assert "{port: 8333, protocol: TCP}" in text


@pytest.mark.parametrize("more", [True, False])
def test_production_asks_for_no_gpu(suite: Suite, more: bool) -> None:
    text = render(suite, "values-production.yaml", production_values(suite, queues=more, monitors=more))
    assert ("kind: ClusterQueue" in text) == more
    assert "--gpus" not in text


def test_the_promoter_follows_the_sessions_model(suite: Suite, service: Service) -> None:
    values = chart_values(suite, secret="opencharacter-s3") | promoter_values(suite.id, service.section())
    assert "name: opencharacter-promoter" in render(suite, "values-trial.yaml", values)
    PromoterConfig.model_validate({"models": [{"model": suite.id, "deploy": service.section()}]})

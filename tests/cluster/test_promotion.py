"""Another version takes over the address of the one before, and the way back."""

import json
from pathlib import Path

import pytest
from support.acceptance.kube import SERVICES, Object
from support.acceptance.releases import Release
from support.acceptance.serving import Service
from support.acceptance.store import copy_below
from support.acceptance.suite import Suite
from support.acceptance.training import Training

pytestmark = pytest.mark.needs("cluster", "images", "store", "pipelines")


@pytest.fixture(scope="module")
def second(suite: Suite, release: Release, service: Service) -> str:
    """A second version in the registry: the first one's weights, at another address."""
    from opencharacter.registry import resolve
    from opencharacter.registry.client import mlflow_client
    from opencharacter.registry.models import URI_TAG

    service.until_ready()
    first = resolve(f"models:/{suite.id}@champion")
    target = f"{suite.prefix}/second"
    copy_below(first.uri, target, suite.local_s3)
    with mlflow_client() as client:
        tags = first.tags | {URI_TAG: target}
        version = client.create_model_version(suite.id, source=target, tags=tags)
    return str(version.version)


@pytest.fixture(scope="module", autouse=True)
def _meanwhile(queued_doomed: Training | None) -> None:
    """What takes long and needs little starts now."""


def test_alias_moves_the_service(suite: Suite, service: Service, second: str, character: Path) -> None:
    """The alias moves in MLflow, and the promoter the service: dark, asked, without a restart, at the same address."""
    before = _address(suite)
    file = suite.write("promoter.yaml", {"models": [{"model": suite.id, "deploy": service.section()}]})
    reason = ("--force", "--reason", "the acceptance suite moves it")
    service.run("promote", "--model", suite.id, "--version", second, *reason).expect()
    service.run("promoter", "--config", str(file), "--once", seconds=600).expect()
    found = service.until_ready()
    assert found["metadata"]["annotations"]["opencharacter.io/model-version"] == second
    assert not found["spec"].get("canary"), "the canary's entry is still there"
    after = _address(suite)
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "another Service has the address"
    assert after["spec"]["selector"] != before["spec"]["selector"], "the address leads to the old pods"
    assert service.ask(character), "an empty answer"


def test_rollback(suite: Suite, service: Service, second: str, character: Path) -> None:
    """deploy with the older version takes the service back."""
    done = service.deploy(f"models:/{suite.id}/1").expect()
    assert "version 1 of" in done.out, done.said
    found = service.until_ready()
    assert found["metadata"]["annotations"]["opencharacter.io/model-version"] == "1"
    assert service.ask(character), "an empty answer"


def _address(suite: Suite) -> Object:
    found = suite.kube.get(f"{SERVICES.format(suite.namespace)}/{suite.id}")
    assert found, f"there is no Service {suite.id}: {json.dumps(found)}"
    return found
